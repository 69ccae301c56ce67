"""What came of a demo, in words and as an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from config.settings import Settings
from proxy.demo.load import ORGANISATIONS
from proxy.demo.screen import BOLD, GREEN, RED, Style
from proxy.demo.tally import Refusals, Tally


@dataclass(frozen=True, slots=True)
class Outcome:
    """The demo's results. `doubled` counts writes that were executed more than once; `fullest` and `at_once`
    are the most calls of one organisation in a minute and in progress; `share` is what `busiest` had of what
    was possible.
    """

    tallies: Sequence[Tally]
    refusals: Refusals
    doubled: int
    fullest: int
    at_once: int
    limit: int
    busiest: str
    share: float | None
    pace: float
    """Seconds at Xero for which a second of the demo stands."""

    @property
    def kept(self) -> bool:
        """Whether everything that the demo is to show was so."""
        failed = sum(tally.failed for tally in self.tallies)
        return not (failed or self.refusals.own or self.doubled)


def introduction(seconds: float, scaled: Settings, status: str) -> list[str]:
    """What is about to happen, and where to look; `status` is the address of the admin port."""
    minute, pause = scaled.minute_window_seconds, scaled.offline_backoff_seconds
    pace, wait = 60 / minute, scaled.max_wait_seconds
    return [
        f"xero-proxy demo: {len(ORGANISATIONS)} organisations at a simulated Xero, about {seconds:g} s.",
        f"Time is scaled, here and on the page: 1 s stands for {pace:.3g} s. A minute",
        f"lasts {minute:.2g} s, the pause after an outage {pause:.2g} s ({_real(pause * pace)}),",
        f"the longest wait {wait:.2g} s ({_real(wait * pace)}).",
        "The limits are Xero's, for each organisation: 60 calls a minute, 5 at once.",
        f"Status page while this runs: {status}/   Ctrl-C ends it.",
        "",
    ]


def summary(outcome: Outcome, style: Style) -> list[str]:
    """Lines of at most 79 columns."""
    retries = sum(tally.retries for tally in outcome.tallies)
    mine, theirs = outcome.refusals.own, outcome.refusals.met
    facts = [("Sent", _sent(outcome))]
    if told := sum(tally.told for tally in outcome.tallies):
        facts.append(("", f"{told} were told at once: offline for longer than they could wait"))
    facts += [
        ("Waited", _waited(outcome, 1.0)),
        ("", f"without scaling: {_waited(outcome, outcome.pace)}"),
        ("Retried", f"{retries} times; writes that Xero executed twice: {outcome.doubled}"),
        ("429s", f"{mine} of our own; {theirs} met because of somebody else*"),
        (
            "Limit",
            f"{outcome.fullest} of {outcome.limit} calls in the fullest minute, {outcome.at_once} at once",
        ),
    ]
    if outcome.share is not None:
        facts.append(
            ("", f"{outcome.busiest} used {outcome.share:.1%} of it; a round trip a minute is the price")
        )
    code = f"{BOLD};{GREEN if outcome.kept else RED}"
    return [f"{style.paint(f'{name:<9}', code)}{text}" for name, text in facts]


def _sent(outcome: Outcome) -> str:
    sent, writes, answered, failed, given_up = (
        sum(getattr(tally, name) for tally in outcome.tallies)
        for name in ("sent", "writes", "answered", "failed", "given_up")
    )
    text = f"{sent:,} requests, {writes:,} of them writes: "
    told = sum(tally.told for tally in outcome.tallies)
    text += "all answered" if answered + told == sent else f"{answered + told:,} answered"
    if failed:
        text += f", {failed:,} failed"
    if given_up:
        text += f", {given_up:,} given up"
    return text


def _waited(outcome: Outcome, pace: float) -> str:
    waits = [wait * pace for tally in outcome.tallies for wait in tally.waits]
    urgent = [wait * pace for tally in outcome.tallies for wait in tally.urgent_waits]
    if not (waits and urgent):
        return "nobody yet"
    return (
        f"median {median(waits):.1f} s, longest {max(waits):.1f} s; "
        f"urgent {median(urgent):.1f} s, {max(urgent):.1f} s"
    )


def _real(seconds: float) -> str:
    """A time that is not scaled."""
    return f"really {seconds / 60:g} min" if seconds >= 60 else f"really {seconds:g} s"
