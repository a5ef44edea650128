"""The embedded search store."""
