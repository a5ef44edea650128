"""What a request asks for, resolved against the contract. Pure."""
