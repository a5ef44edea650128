"""Who asks, and what they may ask of which door: credentials, roles, and how much of it."""
