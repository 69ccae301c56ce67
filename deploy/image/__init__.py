"""The container image, built and run for real: `python -m deploy.image`, or `make image`.

Where this machine has a Docker engine that answers, that one builds `deploy/Dockerfile` as anybody would.
Where it has none, `engine` starts one for as long as it is needed, and `offline` gives it a base image and
wheels.
"""

NAME = "xero-proxy"
HARDENED = (
    "--read-only",
    "--mount=type=volume,destination=/tmp",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=128m",
)
"""How it should be run: options of `docker run`, as deploy/README.md has them."""
