"""The embedded document store."""
