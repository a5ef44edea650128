"""Pages and descriptions beside the data: console, GraphiQL, health, OpenAPI."""
