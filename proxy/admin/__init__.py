"""The admin port: its routes, the operators' page and its events."""
