"""Answers queries: plans, routes, the compiled path and ordinary execution."""
