"""What stands in deploy/, checked by its own tools: `make test-deploy`."""
