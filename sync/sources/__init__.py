"""Change sources: one package or module per kind; `registry` opens one by its URL."""
