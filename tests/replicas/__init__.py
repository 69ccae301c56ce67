"""Several sidecars as processes of their own, their one server, and a simulated Xero as the witness.

In real time, so it is not for every run: `make test-replicas`.
"""
