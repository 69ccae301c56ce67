"""What the demo plays: six organisations, what their callers send and when, and what happens meanwhile.

All times are seconds from the start of a demo of `SECONDS`; a shorter or longer one scales them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

import orjson

SECONDS = 40.0
MINUTE_SECONDS = 4.0
"""How long a minute lasts here. Every wait that the settings name is as much shorter, so that waits and holds
are to each other as in production.
"""
PACE = 60 / MINUTE_SECONDS
LATENCY = (0.02, 0.1)
JITTER = 0.02

STEADY_FROM, STEADY_TO = 1.0, 34.0
OFFLINE_AT, OFFLINE_FOR = 8.0, 12.0
LOST_ANSWERS = 3
PATIENCE_MINUTES = 10
"""How long what comes in a burst says that it can wait."""

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


HARBOUR = Organisation("Harbour Bakery", ((1.0, 240), (14.0, 160), (25.0, 60)), 3.0, 0.1, urgent=True)
TIDE = Organisation("Tide & Co", ((2.0, 60), (14.0, 60), (25.0, 50)), others=36)
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


def story(pause: float) -> tuple[Beat, ...]:
    """What happens in a demo where an organisation that is offline is left alone for `pause` seconds."""
    records, back = sum(calls for _, calls in HARBOUR.bursts), OFFLINE_AT + pause
    beats = (
        Beat(1.0, f"{HARBOUR.name} exports {records} records; its urgent calls overtake them"),
        Beat(2.0, f"{TIDE.name} is busy, and somebody else* calls it {TIDE.others} times a minute"),
        Beat(OFFLINE_AT, f"{KAURI.name} goes offline: nobody else waits for it, and its own callers"),
        Beat(OFFLINE_AT, "are told at once, unless they can wait until Xero is asked again"),
        Beat(12.0, f"{PIXEL.name} sends 90 writes at once; {LOST_ANSWERS} of the answers get lost"),
        Beat(back, f"{KAURI.name} is asked again: one call finds out, those who wait follow"),
    )
    return tuple(beat for beat in beats if beat.at < STEADY_TO)


@dataclass(frozen=True, slots=True)
class Planned:
    """One request that a caller will send. `body` is empty for a read."""

    at: float
    organisation: Organisation
    method: str
    target: str
    body: bytes = b""
    urgent: bool = False
    patient: bool = False
    """Whether it can wait for `PATIENCE_MINUTES`; the others wait as long as the settings say."""


def plan(random: Random) -> list[Planned]:
    """Every request of the demo in the order of sending; no two writes have the same content."""
    planned = [request for each in ORGANISATIONS for request in _requests(each, random)]
    return sorted(planned, key=lambda request: request.at)


def _requests(organisation: Organisation, random: Random) -> list[Planned]:
    bursts = [at for at, calls in organisation.bursts for _ in range(calls)]
    steady = []
    at = STEADY_FROM
    while organisation.every and at < STEADY_TO:
        steady.append(at)
        at += organisation.every * random.uniform(0.5, 1.5)
    planned = [_request(organisation, number, at, random) for number, at in enumerate([*bursts, *steady])]
    many, urgent = len(bursts), organisation.urgent
    return [replace(each, patient=True) for each in planned[:many]] + [
        replace(each, urgent=urgent) for each in planned[many:]
    ]


def _request(organisation: Organisation, number: int, at: float, random: Random) -> Planned:
    if random.random() >= organisation.writes:
        return Planned(at, organisation, "GET", API + random.choice(_READS))
    if number % 3 == 0:
        contact = {"Name": f"Customer {number} of {organisation.name}"}
        return Planned(at, organisation, "PUT", f"{API}/Contacts", orjson.dumps(contact))
    line = {"Description": "Goods", "Quantity": 1, "UnitAmount": 10 + number}
    invoice = {
        "Type": "ACCREC",
        "InvoiceNumber": f"D-{number:04}",
        "Contact": {"Name": "Regular customer"},
        "LineItems": [line],
    }
    return Planned(at, organisation, "POST", f"{API}/Invoices", orjson.dumps(invoice))
