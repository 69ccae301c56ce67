"""What a request is, what an answer means, and the proxy's own answers."""
