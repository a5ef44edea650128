"""Requests, resolved against the contract. Pure."""
