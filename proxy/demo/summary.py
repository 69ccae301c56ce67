"""What came of a demo, in words and as an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from proxy.demo.load import MINUTE_SECONDS, OFFLINE_SECONDS, ORGANISATIONS
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
    log_path: str
    log_dropped: int

    @property
    def kept(self) -> bool:
        """Whether everything that the demo is to show was so."""
        failed = sum(tally.failed for tally in self.tallies)
        return not (failed or self.refusals.own or self.doubled)


def introduction(seconds: float, scale: float, status: str) -> list[str]:
    """What is about to happen, and where to look; `status` is the address of the admin port."""
    minute, rest = MINUTE_SECONDS * scale, OFFLINE_SECONDS * scale
    return [
        f"xero-proxy demo: {len(ORGANISATIONS)} organisations at a simulated Xero, about {seconds:g} s.",
        f"Time is scaled: a minute lasts {minute:.2g} s, the pause after an outage {rest:.2g} s.",
        "The limits are Xero's, for each organisation: 60 calls a minute, 5 at once.",
        f"Status page while this runs: {status}/   Ctrl-C ends it.",
        "",
    ]


def summary(outcome: Outcome, style: Style) -> list[str]:
    """Lines of at most 79 columns, the path of the log aside."""
    retries = sum(tally.retries for tally in outcome.tallies)
    mine, theirs = outcome.refusals.own, outcome.refusals.met
    facts = [
        ("Sent", _sent(outcome)),
        ("Waited", _waited(outcome)),
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
    lost = f" ({outcome.log_dropped} lines lost)" if outcome.log_dropped else ""
    facts.append(("Log", f"{outcome.log_path}{lost}"))
    code = f"{BOLD};{GREEN if outcome.kept else RED}"
    return [f"{style.paint(f'{name:<9}', code)}{text}" for name, text in facts]


def _sent(outcome: Outcome) -> str:
    sent, writes, answered, failed, given_up = (
        sum(getattr(tally, name) for tally in outcome.tallies)
        for name in ("sent", "writes", "answered", "failed", "given_up")
    )
    text = f"{sent:,} requests, {writes:,} of them writes: "
    text += "all answered" if answered == sent else f"{answered:,} answered"
    if failed:
        text += f", {failed:,} failed"
    if given_up:
        text += f", {given_up:,} given up"
    return text


def _waited(outcome: Outcome) -> str:
    waits = [wait for tally in outcome.tallies for wait in tally.waits]
    urgent = [wait for tally in outcome.tallies for wait in tally.urgent_waits]
    if not (waits and urgent):
        return "nobody yet"
    return (
        f"median {median(waits):.1f} s, longest {max(waits):.1f} s; "
        f"the urgent ones {median(urgent):.1f} s and {max(urgent):.1f} s"
    )
