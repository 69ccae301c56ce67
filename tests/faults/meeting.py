"""What callers see who meet a fault upstream, and what must be true afterwards whatever it was."""

from __future__ import annotations

from dataclasses import dataclass

from tests.e2e.harness import Reply, Running, put, request, sidecar
from tests.faults.origin import Act, misbehaving

LIMIT = 60
"""The default limit of calls a minute."""
MEMBERS = {"type", "title", "status", "detail", "instance", "Type", "ErrorNumber", "Title", "Status"}


@dataclass(frozen=True, slots=True)
class Broken:
    """What an attempt came to: its class in the response table, status, RFC 9209 error, words for people."""

    name: str
    status: int
    error: str
    detail: str = ""

    def is_told_by(self, reply: Reply, name: str = "") -> None:
        """An answer in the proxy's own form that nobody takes for Xero's and no SDK sends again."""
        assert (reply.status, reply.class_, reply.wait) == (self.status, name or self.name, None)
        assert f"error={self.error}".encode() in (reply.field(b"proxy-status") or b"")
        assert reply.field(b"content-type") == b"application/json"
        assert reply.problem.keys() == MEMBERS | {"Detail", "Message", "Elements"}
        assert reply.problem["status"] == reply.problem["Status"] == self.status
        assert self.detail in reply.problem["detail"]
        assert ("not known whether" in reply.problem["detail"]) == (reply.class_ == "outcome_unknown")


RESET = Broken("upstream_reset", 502, "connection_terminated")
CUT = Broken("upstream_truncated", 502, "http_response_incomplete")
GARBAGE = Broken("upstream_garbage", 502, "http_protocol_error")
TIMEOUT = Broken("upstream_timeout", 504, "http_response_timeout")


async def is_well(proxy: Running, *, spent: int | None = None) -> None:
    """Nobody waits, every slot is free, `spent` calls of the minute are gone, and a good request works."""
    state = await proxy.status()
    assert state["waiting"] == 0
    for tenant in state["tenants"]:
        assert (tenant["queued"], tenant["in_flight"]) == (0, 0)
        if spent is not None:
            assert tenant["minute_remaining"] == LIMIT - spent
    reply = await proxy.ask(request())
    assert (reply.status, reply.class_) == (200, "success")


async def meets(act: Act, broken: Broken, *, repeated: bool = True, spent: int = 1) -> None:
    """Let a read, a write without a key and one with the proxy's own key meet `act`, each in a world of its
    own, and check what they see, the ledger, the permits and the log. `repeated` says whether the last is
    sent again, `spent` how many calls of the minute one attempt still costs when it has ended.
    """
    await _read_meets(act, broken, spent)
    await _unkeyed_write_meets(act, broken, spent)
    await _keyed_write_meets(act, broken, repeated=repeated)


async def _read_meets(act: Act, broken: Broken, spent: int) -> None:
    async with misbehaving(act) as ledger, sidecar(str(ledger.address), retry_attempts=1) as proxy:
        reply = await proxy.ask(request())
        broken.is_told_by(reply)
        await is_well(proxy, spent=spent)
    logged(proxy, broken.name, 1)


async def _unkeyed_write_meets(act: Act, broken: Broken, spent: int) -> None:
    async with misbehaving(act) as ledger, sidecar(str(ledger.address), idempotency="false") as proxy:
        reply = await proxy.ask(put())
        broken.is_told_by(reply, "outcome_unknown")
        assert reply.attempts == len(ledger.requests) == 1
        assert ledger.executed("PUT") == act.executes
        await is_well(proxy, spent=spent)
    logged(proxy, "outcome_unknown", 1)


async def _keyed_write_meets(act: Act, broken: Broken, *, repeated: bool) -> None:
    async with misbehaving(act) as ledger, sidecar(str(ledger.address), max_wait_seconds=3000) as proxy:
        reply = await proxy.ask(put())
        if repeated:
            assert (reply.status, reply.attempts, len(ledger.requests)) == (200, 2, 2)
        else:
            broken.is_told_by(reply, "outcome_unknown")
        assert ledger.executed("PUT") == 1
        assert len(ledger.keys()) == 1
        await is_well(proxy)
    logged(proxy, reply.class_, reply.attempts)


def logged(proxy: Running, name: str, attempts: int) -> None:
    """The first request's line."""
    line = proxy.lines()[0]
    assert (line["class"], line["sends"]) == (name, attempts)
