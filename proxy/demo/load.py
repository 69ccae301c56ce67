"""What the demo plays: six organisations, what their callers send and when, and what happens meanwhile.

All times are seconds from the start of a demo of `SECONDS`; a shorter or longer one scales them.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import orjson

SECONDS = 40.0
MINUTE_SECONDS = 6.0
"""How long Xero's minute lasts here."""
OFFLINE_SECONDS = 5.0
"""How long an organisation rests after `The Organisation is offline`; 300 s outside of a demo."""
LATENCY = (0.05, 0.25)
JITTER = 0.05

STEADY_FROM, STEADY_TO = 1.0, 34.0
OFFLINE_AT, OFFLINE_FOR = 8.0, 8.0
LOST_ANSWERS = 3

API = "/api.xro/2.0"
_READS = ("/Contacts?page=1", "/Invoices?page=1", "/Organisation", "/Reports/BalanceSheet")


@dataclass(frozen=True, slots=True)
class Organisation:
    """Whom the callers work for; the name is the tenant too.

    `bursts` are moments and how many calls come at once, `every` the mean seconds between the others,
    `writes` the share of writes, `others` how often a minute somebody else calls it.
    """

    name: str
    bursts: tuple[tuple[float, int], ...] = ()
    every: float = 0.0
    writes: float = 0.3
    urgent: bool = False
    """Whether the calls outside of the bursts are urgent."""
    others: int = 0


HARBOUR = Organisation("Harbour Bakery", ((1.0, 200), (14.0, 100), (25.0, 60)), 3.0, 0.1, urgent=True)
TIDE = Organisation("Tide & Co", ((2.0, 60), (14.0, 60), (25.0, 50)), others=24)
KAURI = Organisation("Kauri Timber", every=0.25)
PIXEL = Organisation("Pixel Foundry", ((12.0, 90),), writes=1.0)
ALPINE = Organisation("Alpine Air", every=0.2)
NORTH = Organisation("North Clinic", every=0.7, urgent=True)
ORGANISATIONS = (HARBOUR, TIDE, KAURI, PIXEL, ALPINE, NORTH)


@dataclass(frozen=True, slots=True)
class Beat:
    """Something worth watching, and when it happens."""

    at: float
    text: str


STORY = (
    Beat(
        1.0,
        f"{HARBOUR.name} exports {sum(n for _, n in HARBOUR.bursts)} records; its urgent calls overtake them",
    ),
    Beat(2.0, f"{TIDE.name} is busy, and somebody else* calls it {TIDE.others} times a minute"),
    Beat(OFFLINE_AT, f"{KAURI.name} goes offline for a while: its calls wait, nobody else's"),
    Beat(12.0, f"{PIXEL.name} sends 90 writes at once; {LOST_ANSWERS} of the answers get lost"),
    Beat(OFFLINE_AT + OFFLINE_FOR, f"{KAURI.name} is back: one call finds out, the rest follow"),
)


@dataclass(frozen=True, slots=True)
class Planned:
    """One request that a caller will send. `body` is empty for a read."""

    at: float
    organisation: Organisation
    method: str
    target: str
    body: bytes = b""
    urgent: bool = False


def plan(random: Random) -> list[Planned]:
    """Every request of the demo in the order of sending; no two writes have the same content."""
    planned = [request for each in ORGANISATIONS for request in _requests(each, random)]
    return sorted(planned, key=lambda request: request.at)


def _requests(organisation: Organisation, random: Random) -> list[Planned]:
    moments = [(at, False) for at, calls in organisation.bursts for _ in range(calls)]
    at = STEADY_FROM
    while organisation.every and at < STEADY_TO:
        moments.append((at, organisation.urgent))
        at += organisation.every * random.uniform(0.5, 1.5)
    return [
        _request(organisation, number, at, random, urgent=urgent)
        for number, (at, urgent) in enumerate(moments)
    ]


def _request(organisation: Organisation, number: int, at: float, random: Random, *, urgent: bool) -> Planned:
    if random.random() >= organisation.writes:
        return Planned(at, organisation, "GET", API + random.choice(_READS), urgent=urgent)
    if number % 3 == 0:
        contact = {"Name": f"Customer {number} of {organisation.name}"}
        return Planned(at, organisation, "PUT", f"{API}/Contacts", orjson.dumps(contact), urgent)
    line = {"Description": "Goods", "Quantity": 1, "UnitAmount": 10 + number}
    invoice = {
        "Type": "ACCREC",
        "InvoiceNumber": f"D-{number:04}",
        "Contact": {"Name": "Regular customer"},
        "LineItems": [line],
    }
    return Planned(at, organisation, "POST", f"{API}/Invoices", orjson.dumps(invoice), urgent)
