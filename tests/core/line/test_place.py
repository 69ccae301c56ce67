from __future__ import annotations

from proxy.core.line.turns import Place


def test_a_line_knows_how_long_it_has_stood_for_what() -> None:
    place = Place("app", since=100.0)
    assert place.stood(101.0) == {"": 1.0}
    place.blocked_by = "minute"
    assert place.stood(104.0) == {"": 1.0, "minute": 3.0}
    place.blocked_by = ""
    assert place.stood(104.5) == {"": 1.5, "minute": 3.0}
