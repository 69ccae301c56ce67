"""What `make bench` measures: how near the limit, what a decision and a waiting caller cost, how fast.

| file | |
|---|---|
| `share` | calls a minute and 429s, xero-proxy beside what people use today; virtual time |
| `organisation` | one simulated organisation, without a network |
| `sidecar`, `clients` | who calls it: the real pipeline, and the others |
| `decide` | CPU of enqueue + grant + settle in the real scheduler |
| `waiting` | memory of a real process with callers in line |
| `peers` | speed and memory of a real process beside other proxies |
| `interpreter`, `report` | what ran it, and how it is printed |

It measures and does not judge: a requirement that does not hold is printed, and the exit code is 0.
"""
