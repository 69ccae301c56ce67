"""How fast the proxy is beside others, in one run on one machine: ratios, since figures alone do not travel.

Each proxy runs on one core; the load and the upstream (nginx) share the other. All take their turns in every
round, so that a drift of the machine hits all alike, and the medians of the rounds are printed.

| file | |
|---|---|
| `tools` | what must be installed, and its versions |
| `process` | one process on one core: when it listens, its CPU, its memory |
| `upstream`, `proxies` | what stands behind, and what is compared: configurations and commands |
| `textbook`, `plain.js` | the two proxies that are written here, as their documentation shows it |
| `forwarder` | what asyncio alone takes: a floor for whatever is built on it |
| `wrk`, `pace`, `streams` | the load: as much as goes, at a fixed rate, and large bodies |
| `requests` | what they send |
| `rounds`, `parts` | all proxies in turn, and what is measured of them |
| `tables`, `run`, `options` | how it is printed, all of it, and what can be chosen |

The peers pass bytes and do nothing else. The textbook proxy also classifies, counts and logs as xero-proxy
does; only xero-proxy keeps limits: those of `TENANTS` organisations, too high to bind.
"""

TENANTS = 200
