from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.answers import idempotency
from proxy.core.answers.idempotency import (
    KEY_BYTES,
    KEY_LIFE_SECONDS,
    KEYED_METHODS,
    UNSEEN_SECONDS,
    Keys,
    new_key,
)

XERO_REMEMBERS_SECONDS = 360.0
XERO_KEY_CHARACTERS = 128


def test_a_key_of_our_own_is_fit_for_xero_and_its_own() -> None:
    keys = {new_key(number.to_bytes(KEY_BYTES, "big")) for number in range(100)}
    assert len(keys) == 100
    assert all(key.isascii() and len(key) <= XERO_KEY_CHARACTERS for key in keys)
    assert all(key.startswith(b"xero-proxy-") for key in keys)
    assert new_key(bytes(range(KEY_BYTES))) == b"xero-proxy-000102030405060708090a0b0c0d0e0f"


def test_a_key_is_trusted_for_less_time_than_xero_remembers_it() -> None:
    assert XERO_REMEMBERS_SECONDS > KEY_LIFE_SECONDS
    assert {"POST", "PUT", "PATCH"} == KEYED_METHODS


def test_the_life_of_a_key_begins_when_it_is_first_sent() -> None:
    keys = Keys()
    assert keys.first_used("app", b"key", 10.0) == 10.0
    assert keys.first_used("app", b"key", 300.0) == 10.0
    assert keys.first_used("app", b"key", 899.0) == 10.0, "long expired, but not yet surely forgotten by Xero"
    assert keys.first_used("app", b"key", 899.0 + 2 * KEY_LIFE_SECONDS) == 1499.0
    assert keys.first_used("app", b"key", 1600.0) == 1499.0


def test_keys_of_different_apps_are_different() -> None:
    keys = Keys()
    assert keys.first_used("one", b"key", 1.0) == 1.0
    assert keys.first_used("two", b"key", 2.0) == 2.0
    assert keys.first_used("onek", b"ey", 3.0) == 3.0


def test_a_key_is_kept_as_a_hash() -> None:
    keys = Keys()
    keys.first_used("app", b"CANARY", 1.0)
    assert b"CANARY" not in b"".join(keys._uses)


def test_what_xero_has_forgotten_is_forgotten() -> None:
    keys = Keys()
    for number in range(2000):
        keys.first_used("app", b"%d" % number, float(number))
    assert len(keys._uses) == 2 * KEY_LIFE_SECONDS


def test_of_very_many_keys_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "KEYS_KEPT", 10)
    keys = Keys()
    for number in range(100):
        keys.first_used("app", b"%d" % number, 0.0)
        assert len(keys._uses) == len(keys._alone) <= 10
    assert keys.seen("app", b"99", 1.0) == 0.0
    assert keys.seen("app", b"0", 1.0) is None


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.floats(0.0, 800.0)), max_size=40))
def test_a_key_is_never_trusted_for_longer_than_xero_remembers_it(uses: list[tuple[bytes, float]]) -> None:
    """Xero counts six minutes from the first call and, once they are over, from the next one."""
    keys, now, began = Keys(), 0.0, dict[bytes, float]()
    for key, pause in uses:
        now += pause
        if now - began.get(key, -inf) >= XERO_REMEMBERS_SECONDS:
            began[key] = now
        assert keys.first_used("app", key, now) <= began[key]
    times = [last for _, last, _ in keys._uses.values()]
    assert times == sorted(times)


def test_a_wall_clock_that_is_put_forward_is_no_time_in_which_uses_were_seen() -> None:
    keys = Keys(since=1000.0)
    assert keys.first_used("app", b"key", 2001.0, up=1001.0) == -inf
    assert keys.first_used("app", b"new", 2500.0, up=1000.0 + UNSEEN_SECONDS) == 2500.0


def test_a_key_that_came_to_nothing_is_as_new_unless_somebody_else_used_it() -> None:
    keys = Keys()
    keys.first_used("app", b"key", 10.0)
    keys.unused("app", b"key")
    assert keys.seen("app", b"key", 20.0) is None
    keys.first_used("app", b"key", 20.0)
    keys.first_used("app", b"key", 30.0)
    keys.unused("app", b"key")
    assert keys.seen("app", b"key", 40.0) == 20.0
    keys.unused("app", b"never seen")


def test_what_rested_long_enough_for_xero_to_forget_it_was_never_seen() -> None:
    keys = Keys()
    keys.first_used("app", b"key", 10.0)
    assert keys.seen("app", b"key", 10.0 + 2 * KEY_LIFE_SECONDS - 0.1) == 10.0
    assert keys.seen("app", b"key", 10.0 + 2 * KEY_LIFE_SECONDS) is None


def test_until_all_uses_were_seen_for_long_enough_a_new_key_may_be_old() -> None:
    keys = Keys(since=1000.0)
    assert keys.first_used("app", b"early", 1000.0 + UNSEEN_SECONDS - 0.1) == -inf
    assert keys.first_used("app", b"late", 1000.0 + UNSEEN_SECONDS) == 1000.0 + UNSEEN_SECONDS
    assert keys.first_used("app", b"early", 1000.0 + UNSEEN_SECONDS) == -inf, "it stays in doubt"
    assert keys.seen("app", b"early", 2000.0) == 1000.0 + UNSEEN_SECONDS - 0.1


def test_where_others_use_keys_unseen_no_key_is_known_to_be_young() -> None:
    assert Keys(inf).first_used("app", b"key", 1e9) == -inf


def test_what_an_earlier_process_wrote_down_says_how_old_a_new_key_can_be() -> None:
    keys = Keys(since=1000.0)
    keys.restore(b"digest", 900.0, 980.0)
    keys.restored(990.0)
    assert keys.first_used("app", b"key", 1001.0) == 990.0
    assert [first for _, first, _ in keys.used_since(-inf)] == [1001.0, 900.0]


def test_a_key_that_had_to_be_forgotten_too_early_is_not_taken_for_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idempotency, "KEYS_KEPT", 2)
    keys = Keys()
    for number in range(4):
        assert keys.first_used("app", b"%d" % number, float(number)) == (0.0 if number == 3 else number)
    assert keys.first_used("app", b"0", 5.0) == 0.0
    assert keys.first_used("app", b"new", 4.9 + UNSEEN_SECONDS) == 0.0
    assert keys.first_used("app", b"newer", 5.0 + UNSEEN_SECONDS) == 5.0 + UNSEEN_SECONDS
