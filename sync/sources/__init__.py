"""Where changes come from: one package or module per kind of source, `registry` opens one by its URL."""
