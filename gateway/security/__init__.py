"""Decides who asks, and what they may ask of which endpoint: credentials, roles, rates."""
