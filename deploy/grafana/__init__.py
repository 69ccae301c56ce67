"""The Grafana dashboard as code, and `xero-proxy.json`, which it makes.

`dashboard` puts it together, `panels` says how it looks, `queries` how metrics are asked.
"""
