"""Makes a running product of files: their contents, the contract that follows from them, the order
of imports."""
