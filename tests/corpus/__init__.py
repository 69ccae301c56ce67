"""Raw requests and responses that people have broken servers with, sent through the proxy.

`rows` reads them, `strict` is a second opinion on what they say, `runner` sends them, and
`expectations.toml` gives the reason wherever the proxy differs from what a row expects.
`python -m tests.corpus` runs the same rows through nginx and HAProxy.
"""
