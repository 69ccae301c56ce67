"""Xero without a network: what becomes of a call, decided at the moment it arrives.

    arrive: token → outage → tenant → scope → limits → offline → fault → key → execute      finish

The limits come in the order concurrent, minute, day, app minute; `budget` and `windows` count.
A call is **executed on arrival**, in the same step that counts it; what is left until `done_at` is
the wait for its answer, during which it occupies its concurrency. So a caller that gives up
waiting undoes nothing, and a call whose answer gets lost has been executed exactly once. `finish`
only frees the concurrency.

Pure: `now` is an argument and randomness is given. Times are seconds of one monotonic clock that never
runs back; the wall clock is `now` plus `Options.epoch`. Nothing is imported from the proxy but
its nouns, so that a mistake there cannot repeat itself here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from uuid import UUID

from proxy.core.model import Headers, Limit
from proxy.simulator import answers
from proxy.simulator.answers import Answer, SimRequest
from proxy.simulator.budget import Budget
from proxy.simulator.budgets import Budgets
from proxy.simulator.calls import NO_ANSWER, Begun, Call, Decision, spoilt
from proxy.simulator.connections import Connections
from proxy.simulator.faults import Fate, Fault, FaultKind, Faults, Place
from proxy.simulator.idempotency import KeyCache, key_of
from proxy.simulator.ledger import Entry, Ledger, Write, short_hash
from proxy.simulator.options import Options
from proxy.simulator.resources import Resources
from proxy.simulator.tokens import DEFAULT_APP, Token, Tokens

_TELL_THE_APP = frozenset({FaultKind.INSUFFICIENT_SCOPE, FaultKind.DISCONNECTED})
_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class Xero:
    """All state of one simulated Xero."""

    def __init__(self, options: Options, random: Random, base_url: str = "https://identity.xero.com") -> None:
        self.options = options
        self.faults = Faults()
        self.ledger = Ledger()
        self._random = random
        self._budgets = Budgets(options, random)
        self._connections = Connections(options.known_tenants, options.epoch)
        self._keys = KeyCache()
        self._resources = Resources(random)
        self._tokens = Tokens(random, base_url, check_expiry=options.check_token_expiry)
        self._open: dict[int, Budget] = {}
        self._sequence = 0

    def transit(self) -> float:
        """Seconds that the next call spends on the network before `arrive` is due for it."""
        return self._random.uniform(0.0, self.options.jitter)

    def arrive(self, request: SimRequest, now: float) -> Begun:
        """Count, decide and execute one call."""
        self._sequence += 1
        instance = str(UUID(int=self._random.getrandbits(128), version=4))
        call = Call(self._sequence, request, now, self.options.epoch + now, instance)
        decision = self._decide(call)
        self._record(call, decision)
        done_at = max(self._done_at(decision, now), decision.not_before)
        if decision.kept:
            self._keys.complete(call.app, request, done_at)
        return Begun(call.sequence, decision.answer, done_at, decision.fate)

    def finish(self, begun: Begun, _now: float) -> None:
        """The answer is complete, or lost: free the call's concurrency. A second time changes nothing."""
        if budget := self._open.pop(begun.sequence, None):
            budget.end()

    def foreign_call(self, tenant: str, now: float, app: str = DEFAULT_APP) -> bool:
        """One call by somebody else on the limits of this app and tenant; False where it got a 429."""
        return self._budgets.tenant(app, tenant, now).foreign_call(now)

    def foreign_rate(self, tenant: str, per_minute: float, now: float, app: str = DEFAULT_APP) -> None:
        """Somebody else calls at random from now on, so often on average; 0 stops it."""
        self._budgets.tenant(app, tenant, now).foreign_rate(per_minute, now)

    def expire_tokens(self, now: float) -> None:
        """Expire every access token seen or issued so far."""
        self._tokens.expire(self.options.epoch + now)

    def peak_rolling(self, tenant: str) -> int:
        """Most calls that came for this tenant, by one app, in any rolling minute window."""
        return max((budget.peak_rolling for budget in self._budgets.of(tenant)), default=0)

    def peak_concurrent(self, tenant: str) -> int:
        """Most calls in progress at once for this tenant, by one app, a refused one included."""
        return max((budget.peak_concurrent for budget in self._budgets.of(tenant)), default=0)

    def foreign_counted(self, tenant: str) -> int:
        """Foreign calls that were counted on this tenant's limits so far."""
        return sum(budget.foreign_counted for budget in self._budgets.of(tenant))

    def tenants(self) -> list[str]:
        """Every tenant that was ever called."""
        return self._budgets.names()

    def in_progress(self) -> int:
        """Calls that hold concurrency now."""
        return len(self._open)

    def _decide(self, call: Call) -> Decision:
        request, path = call.request, call.request.path.lower()
        if path.startswith(("/connect/", "/.well-known/")):
            return self._carry_out(call, lambda: self._tokens.perform(request, call.wall))
        token = self._tokens.bearer(request.header(b"authorization"), call.wall, call.instance)
        call.app = "" if isinstance(token, Answer) else token.app
        connections = path.startswith("/connections")
        if not connections:
            call.tenant = request.header(b"xero-tenant-id")
            if not call.tenant and isinstance(token, Token) and not token.of_user:
                call.tenant = call.app
        if call.tenant:
            self._budgets.tenant(call.app, call.tenant, call.now).observe(call.now)
        if outage := self.faults.outage(call.now):
            return self._refuse(call, outage)
        if isinstance(token, Answer):
            return self._refuse(call, token)
        return self._connections_call(call) if connections else self._tenant_call(call)

    def _connections_call(self, call: Call) -> Decision:
        app_minute = self._budgets.app(call.app)
        if wait := app_minute.retry_after(call.now):
            return self._refuse_for_app(call, answers.too_many(Limit.APP_MINUTE, wait))
        app_minute.count(call.now)
        decision = self._carry_out(call, lambda: self._connections.perform(call.request))
        return _stamped(call, decision, self._app_header(call))

    def _tenant_call(self, call: Call) -> Decision:
        if not (call.tenant and self._connections.admits(call.tenant)):
            return self._refuse_for_app(call, answers.wrong_tenant(call.instance))
        budget = self._budgets.tenant(call.app, call.tenant, call.now)
        app_minute = self._budgets.app(call.app)
        if fault := self.faults.pop(call.tenant, call.request.method, gate=True):
            if limit := fault.failure.limit:
                spent = budget.headers(app_minute, call.now, spent=limit)
                return self._refuse(call, _answer(fault, call), spent)
            if fault.kind in _TELL_THE_APP:
                return self._refuse_for_app(call, _answer(fault, call))
            return self._refuse(call, _answer(fault, call))
        refusal = budget.begin(app_minute, call.now, count_refused=self.options.count_refused)
        remaining = budget.headers(app_minute, call.now)
        if refusal:
            return self._refuse(call, refusal, remaining)
        self._open[call.sequence] = budget
        if self.faults.is_offline(call.tenant, call.now):
            return self._refuse(call, answers.ORGANISATION_OFFLINE, remaining)
        perform = self._resources.perform
        decision = self._carry_out(call, lambda: perform(call.request, call.tenant, call.wall))
        return _stamped(call, decision, remaining)

    def _carry_out(self, call: Call, execute: Callable[[], Answer]) -> Decision:
        """Past the limits: faults that strike first, then the key, the execution, and the other faults."""
        request = call.request
        fault = self.faults.pop(call.tenant, request.method)
        if fault and fault.failure.place is Place.WAY and not fault.executed:
            return spoilt(fault, Decision(NO_ANSWER))
        # The identity host, which learns no app here, knows no keys.
        if call.app and key_of(request) and self.faults.are_keys_down(call.now):
            return Decision(answers.internal_error(call.instance))
        if call.app and (kept := self._keys.find(call.app, request, call.now)):
            return spoilt(fault, Decision(kept.answer, replayed=True, not_before=kept.complete_at))
        executed = fault is None or fault.executed
        answer = execute() if executed else NO_ANSWER
        if fault and fault.failure.place is Place.XERO:
            answer = _answer(fault, call)
        if call.app:
            self._keys.keep(call.app, request, answer, call.now)
        return spoilt(fault, Decision(answer, executed=executed, kept=bool(call.app)))

    def _refuse(self, call: Call, answer: Answer, remaining: Headers = ()) -> Decision:
        if problem := dict(answer.headers).get(b"X-Rate-Limit-Problem"):
            self.ledger.refused[problem.decode()] += 1
        return _stamped(call, Decision(answer, refused=True), remaining)

    def _refuse_for_app(self, call: Call, answer: Answer) -> Decision:
        """Refused before the tenant's limits are looked at: only the app's own is told."""
        return self._refuse(call, answer, self._app_header(call))

    def _app_header(self, call: Call) -> Headers:
        left = self._budgets.app(call.app).remaining(call.now)
        return ((b"X-AppMinLimit-Remaining", str(left).encode()),)

    def _done_at(self, decision: Decision, now: float) -> float:
        shortest, longest = self.options.latency
        if decision.fate is Fate.RESET and not (decision.executed or decision.replayed):
            return now
        return now + (shortest if decision.refused else self._random.uniform(shortest, longest))

    def _record(self, call: Call, decision: Decision) -> None:
        request, key = call.request, key_of(call.request)
        self.ledger.add(
            Entry(
                sequence=call.sequence,
                time=call.now,
                app=call.app,
                tenant=call.tenant,
                method=request.method,
                path=request.path,
                key_hash=short_hash(key.encode()) if key else "",
                status=decision.answer.status,
                fate=decision.fate,
                executed=decision.executed,
                replayed=decision.replayed,
            )
        )
        if decision.executed and call.tenant and request.method in _WRITES:
            content = short_hash(request.target.encode() + b"\n" + request.body)
            self.ledger.writes[Write(call.tenant, request.method, request.path, content)] += 1


def _answer(fault: Fault, call: Call) -> Answer:
    """What a failure that is an answer says to this call."""
    make = fault.failure.answer
    return make(call.instance) if make else NO_ANSWER


def _stamped(call: Call, decision: Decision, remaining: Headers) -> Decision:
    """With the headers that Xero adds itself, and its gateway, which speaks in its place, does not."""
    if decision.foreign:
        return decision
    stamp = (*remaining, (b"Xero-Correlation-Id", call.instance.encode()))
    return replace(decision, answer=decision.answer.adding(stamp))
