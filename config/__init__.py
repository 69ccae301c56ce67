"""What can be set without touching code.

`settings` reads the environment, `responses` loads the response table (`responses.toml`), `apis` the
prefixes of Xero's API families (`apis.toml`). The data files are part of the package; nobody edits them at
run time.
"""
