"""Full-text search and suggestions, for GraphQL and HTTP alike."""
