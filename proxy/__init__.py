"""A sidecar in front of the Xero API that keeps to every limit and outlasts every outage.

The life of a request, in the words of `proxy.request.pipeline`:

    caller → route → admit → [ acquire → send → classify → settle → decide ]* → respond → caller
             pure    bounded   permits   one      pure       learn    pure        stream
                                         attempt
                                record: one line, one metric call, around it all

| stage | file |
|---|---|
| the caller's side | `http.callers` over `http.listener`; `core.wire.strict` over `heads`; `http.names` |
| route | `core.answers.route` (family, tenant, app); `core.wire.headers` (what passes a proxy): a `Request` |
| admit | `waiting.scheduler` (room in line, hopeless waits); `http.body` (a body that can be sent again) |
| acquire, settle | `waiting.scheduler` over `core.line` (order) and `stores` (permits); |
| | `core.limits.decision` asks `window`, `day` and `holds` with `breaker`; |
| | `stores.memory` decides, `stores.sqlite` remembers it, `stores.redis` shares it |
| send | `request.attempt` over `http.upstream`, `http.connecting` (aiohttp); `http.response` over `spool` |
| | `request.refreshes`: one call for all who refresh a token, over `core.tokens` |
| classify | `core.answers.classify` over `config/responses.toml`; `request.access`: expired tokens and lost |
| | connections; an answer in pieces is settled once its meaning is known: `request.attempt` |
| decide | `request.attempts` (the loop) over `core.answers.retry`; `core.answers.tried`: what has been |
| | tried, and the life of its key, over `core.answers.idempotency` |
| respond | `request.replies`; `core.answers.answers`: the table of our own; `core.answers.marks`: on all |
| record | `observe.telemetry` (metrics), `observe.log` (lines), `observe.gauges` (read at a scrape) |
| | `admin.routes` shows it: `exposition`, `page`, `events`; `observe.status` as JSON |

`proxy.core` is pure: no await, no clock, no I/O. `proxy.clock` is the only file that reads time.
`proxy.app` wires everything, `proxy.process` runs it, `proxy.process` ends it, `proxy.cli` is the command
line, `proxy.simulator` a strict Xero to test with.
"""

__version__ = "0.1.0"
