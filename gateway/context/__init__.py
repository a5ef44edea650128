"""The services that a request may use: stores behind their guards, freshness, tokens."""
