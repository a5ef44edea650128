"""From files to a running product: what the files hold, the contract that follows from it, the
order of imports."""
