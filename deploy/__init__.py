"""What a platform team ships the sidecar with; checked by `make test-deploy`."""
