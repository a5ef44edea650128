"""What a request may use: stores behind their guards, freshness, tokens."""
