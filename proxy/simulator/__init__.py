"""A strict stand-in for Xero: its limits, refusals, keys, tokens, failures, and the Accounting API's records.

    server ── answers over HTTP, spoils connections on request      cli ── runs it alone
      control ── /_simulator/…: ledger, faults, clock
      xero ── the pure core: what becomes of a call
        windows, budget, budgets ── the four limits      faults ── what is wrong now
        tokens, connections, idempotency ── gates        ledger ── what arrived
        resources, beside, other_apis ── what it can do  accounting ── the table of it
          records, tables, wire ── how records are checked, kept and written

The core takes `now` and can be driven without a network, in virtual time; the server gives it the time of
`proxy.clock`. It shares no rule with the proxy: what one of the two has wrong, the other shows.
"""
