"""From files to a running product: the contents of the files, the contract that follows from them,
the order of imports."""
