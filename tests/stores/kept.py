"""Every account as a server keeps it, held against the core's."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from proxy.core.limits.accounts import Account
from proxy.core.limits.window import Window

UNPACK = """
local flat, kept = {}, {cmsgpack.unpack(redis.call('GET', KEYS[1]) or cmsgpack.pack(nil))}
for place, name in ipairs(ARGV) do
  local value = kept[place]
  local numbers = {}
  for place, number in ipairs(type(value) == 'table' and value or {value}) do
    numbers[place] = string.format('%.17g', number)
  end
  flat[#flat + 1] = value ~= nil and name or nil
  flat[#flat + 1] = value ~= nil and table.concat(numbers, ' ') or nil
end
return flat
"""
FIELDS = """
    sent settled passed oldest sent_last settled_last others others_gone batches read_at read_left
    read_gone raised_at lowered_at sent_at began_after began_before in_flight window had freed_at awaited
    used said asked_at day_first day_began day_count shown
""".split()  # noqa: SIM905 -- as a list it is 29 lines
"""In the order in which they are packed."""
Kept = dict[bytes, bytes]
Do = Callable[..., Any]


def same_account(do: Do, key: str, account: Account) -> None:
    """An organisation's."""
    kept, day = same_window(do, key, account.minute), account.day
    assert _number(kept, b"in_flight", 0) == account.in_flight
    assert _number(kept, b"said") == day._said
    assert _number(kept, b"used", 0) == day._used
    assert _number(kept, b"asked_at", -inf) == day._asked_at
    assert _number(kept, b"shown") == day._shown
    buckets = [(began, count) for began, count in day._buckets]
    newest = [(_number(kept, b"day_began"), _number(kept, b"day_count"))] if b"day_began" in kept else []
    assert [
        *(tuple(map(float, each.split())) for each in do("LRANGE", f"{key}:d", 0, -1)),
        *newest,
    ] == buckets
    assert _number(kept, b"day_first") == (buckets[0][0] if buckets else None)


def same_window(do: Do, key: str, window: Window) -> Kept:
    """A minute's; returns all that is kept beside it."""
    flat = do("EVAL", UNPACK, 1, key, *FIELDS)
    kept = dict(zip(flat[::2], flat[1::2], strict=True))
    assert _number(kept, b"sent", 0) == window._sent.total
    assert _number(kept, b"settled", 0) == window._settled.total
    assert _scores(do, f"{key}:s") == list(window._sent.times)
    assert _scores(do, f"{key}:r") == list(window._settled.times)
    others = window._others
    batches = b" ".join(b"%.17g %d" % (at, count) for at, count in others._batches)
    assert kept.get(b"batches", b"") == batches
    assert _number(kept, b"others", 0) == others.total
    assert _number(kept, b"others_gone", 0) == others._forgotten
    read = (b"read_at", -inf), (b"read_left", window.limit), (b"read_gone", 0)
    assert tuple(_number(kept, *of) for of in read) == window._read
    assert _number(kept, b"raised_at", -inf) == window._raised_at
    assert _number(kept, b"lowered_at", -inf) == window._lowered_at
    assert _number(kept, b"sent_at", -inf) == window._sent_at
    assert _number(kept, b"began_after", -inf) == window._began_after
    assert _number(kept, b"began_before", -inf) == window._began_before
    return kept


def _scores(do: Do, key: str) -> list[float]:
    return [score for _, score in do("ZRANGE", key, 0, -1, "WITHSCORES")]


def _number(kept: Kept, name: bytes, absent: float | None = None) -> float | None:
    return float(kept[name]) if name in kept else absent
