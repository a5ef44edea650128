"""How a query is answered: plans, routes, the compiled path and ordinary execution."""
