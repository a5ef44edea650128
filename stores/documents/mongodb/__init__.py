"""The MongoDB document store."""
