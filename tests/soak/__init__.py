"""`python -m tests.soak`: a long mixed load with faults, and what must be true after it.

    load (this process) ──▶ sidecar (process) ──▶ simulator (process)
      └─ outcomes              └─ memory, files        └─ ledger        ──▶ account

Every request carries a mark of its own in its path. What its caller saw is compared with what the simulator's
ledger says was executed: each request answered once and in time, no write executed twice, no success that is
not in the ledger, no answer that belongs to somebody else.
"""
