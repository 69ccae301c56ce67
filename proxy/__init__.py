"""A sidecar in front of the Xero API that keeps to every limit and outlasts every outage.

The life of a request, in the words of `proxy.pipeline`:

    caller → route → admit → [ acquire → send → classify → settle → decide ]* → respond → caller
             pure    bounded   permits   one      pure       learn    pure        stream
                                         attempt
                                record: one line, one metric call, around it all

| stage | file |
|---|---|
| the caller's side | `downstream` (HTTP in, response out), `wire` (all that touches aiohttp's insides) |
| route | `core.route` (family, tenant, app), `core.headers` (what passes a proxy) |
| admit | `scheduler` (room in line, hopeless waits), `body` (a body that can be sent again) |
| acquire, settle | `scheduler` over `core.turns`, `core.lines` (order) and `core.limits` (permits, holds) |
| send | `upstream` (one attempt, an outcome) |
| classify | `core.classify` over `config/responses.toml` |
| decide | `core.retry`, `core.idempotency` |
| respond | `core.answers` (the proxy's own), `core.marks` (what every response carries) |
| record | `telemetry`, `log`, `admin` |

`proxy.core` is pure: no await, no clock, no I/O. `proxy.clock` is the only file that reads time.
`proxy.app` wires everything, `proxy.cli` is the command line, `proxy.simulator` a strict Xero to test with.
"""

__version__ = "0.1.0"
