"""A sidecar in front of the Xero API that keeps to every limit and outlasts every outage.

The life of a request, in the words of `proxy.pipeline`:

    caller → route → admit → [ acquire → send → classify → settle → decide ]* → respond → caller
             pure    bounded   permits   one      pure       learn    pure        stream
                                         attempt
                                record: one line, one metric call, around it all

| stage | file |
|---|---|
| the caller's side | `downstream` over `listener`, `reception`, `caller` (connection), `call` (request); |
| | `core.strict` over `core.heads`, `names` (under which it is reached) |
| route | `core.route` (family, tenant, app); `core.headers` (what passes a proxy) |
| admit | `scheduler` (room in line, hopeless waits); `body` over `disk` (a body that can be sent again) |
| | `prospects`: who can still run in time; `paced`: many refusals, a few at a time |
| acquire, settle | `scheduler` over `core.turns`, `core.place`, `core.lines` (order) and `stores` (permits) |
| | `core.limits`, the one decision, asks `core.window`, `core.day` and `core.holds` with `core.breaker` |
| | `stores.memory` decides; `stores.sqlite` remembers it by `state_file`, `state_rows` and a `worker` |
| | `stores.redis` shares it: `session`, `link`, `resp` (connections), `script` over `lua/` (the rules), |
| | `settlements`, `polls`, and `core.standby` (what a replica may do alone), `core.sharing` (turns, leases) |
| send | `attempt`; `upstream` (pool), `connecting`, `exchange` (a connection), `tls` under it, |
| | `response` (a result) over `spool` (read ahead, in memory and on `disk`) |
| | `refreshes`: one call for all who refresh a token, over `core.token_request`, `revocations`, |
| | `stores.claims` |
| classify | `core.classify` over `config/responses.toml`; `hearing`, where an answer comes in pieces |
| | `access`: expired tokens and lost connections, over `core.connections` and `core.remembered` |
| decide | `core.retry`, `core.idempotency`; `pauses` between attempts |
| respond | `replies`, `core.answers` (the proxy's own), `core.marks` (what every response carries) |
| record | `telemetry` over `tallies`, with `last_failures`, `gauges`, `log` over `line_writer` |
| | `spent_limits`: when a limit is spent and has room again |
| | `admin` shows it: `exposition` (metrics), `status` (JSON), `page` (for people) and its `events`, of a |
| | `snapshot` with the `states` of each organisation, made in `steps` so that callers are served meanwhile |

`job` is what the stages know of one request. Both sides share `flow` (back-pressure), `deadlines` (one
timer) and `core.heads` (start lines and fields).

`proxy.core` is pure: no await, no clock, no I/O. `proxy.clock` is the only file that reads time.
`proxy.app` wires everything, `proxy.process` runs it, `proxy.signals` ends it, `proxy.cli` is the command
line, `proxy.simulator` a strict Xero to test with.
"""

__version__ = "0.1.0"
