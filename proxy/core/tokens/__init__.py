"""What requests for tokens and their answers say of tokens and connections."""
