"""Typed clients of a product, made from its GraphQL schema."""
