from __future__ import annotations

from proxy.core.model import ConnectionView
from proxy.core.tokens.connections import CONNECTIONS_MAX, LOST_SECONDS, ConnectionChange, Connections


def test_a_loss_is_told_once_and_so_is_its_end() -> None:
    connections = Connections()
    assert connections.lost("app", "t1", "unauthorised", 1.0) == ConnectionChange(
        "app", "t1", "unauthorised", lost=True
    )
    assert connections.lost("app", "t1", "wrong_tenant", 2.0) is None
    assert connections.works("app", "t1", 3.0) == ConnectionChange("app", "t1", "unauthorised", lost=False)
    assert connections.works("app", "t1", 4.0) is None
    assert connections.view(5.0) == ()


def test_a_call_sent_before_the_loss_does_not_end_it() -> None:
    connections = Connections()
    connections.lost("app", "t1", "unauthorised", 2.0)
    assert connections.works("app", "t1", 1.9) is None
    assert connections.view(5.0) == (ConnectionView("app", "t1", "unauthorised", 3.0),)


def test_a_loss_is_shown_for_as_long_as_more_is_heard_of_it() -> None:
    connections = Connections()
    connections.lost("app", "t1", "unauthorised", 0.0)
    connections.lost("app", "t1", "unauthorised", 10.0)
    assert connections.view(LOST_SECONDS + 9.9) == (
        ConnectionView("app", "t1", "unauthorised", LOST_SECONDS + 9.9),
    )
    assert connections.view(LOST_SECONDS + 10.0) == ()
    assert connections.lost("app", "t2", "unauthorised", LOST_SECONDS + 10.0) is not None
    assert len(connections) == 1, "it is dropped, not only passed over"
    assert connections.lost("app", "t1", "unauthorised", LOST_SECONDS + 11.0) is not None


def test_organisations_and_apps_are_apart() -> None:
    connections = Connections()
    connections.lost("app", "", "invalid_grant", 1.0)
    connections.lost("app", "t1", "unauthorised", 1.0)
    assert connections.works("app", "t2", 2.0) is None
    assert connections.works("other", "t1", 2.0) is None
    connections.works("app", "t1", 2.0)
    assert [(lost.tenant, lost.reason) for lost in connections.view(2.0)] == [("", "invalid_grant")]


def test_of_very_many_the_one_that_was_lost_first_is_forgotten() -> None:
    connections = Connections()
    for number in range(CONNECTIONS_MAX + 5):
        connections.lost("app", f"t{number}", "unauthorised", 1.0)
    view = connections.view(1.0)
    assert len(view) == CONNECTIONS_MAX
    assert view[0].tenant == "t5"
