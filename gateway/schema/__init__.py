"""The GraphQL schema made from the contract."""

from gateway.schema.build import build_schema

__all__ = ["build_schema"]
