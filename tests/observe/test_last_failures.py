import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.observe.last_failures import (
    CLASSES_MAX,
    KEPT_SECONDS,
    ORGANISATIONS_MAX,
    FailureView,
    LastFailures,
)
from tests.e2e.harness import both, request


def test_failures_are_counted_by_organisation_and_class_the_last_first() -> None:
    failures = LastFailures()
    failures.note("app", "acme", "offline", 503, 1.0)
    failures.note("app", "acme", "not_found", 404, 2.0)
    failures.note("app", "other", "offline", 503, 3.0)
    failures.note("app", "acme", "offline", 500, 4.0)
    assert failures.view(10.0) == (
        FailureView("app", "acme", "offline", 500, 2, 6.0),
        FailureView("app", "acme", "not_found", 404, 1, 8.0),
        FailureView("app", "other", "offline", 503, 1, 7.0),
    )


def test_an_old_failure_is_forgotten_and_the_next_is_the_first_again() -> None:
    failures = LastFailures()
    failures.note("app", "acme", "offline", 503, 0.0)
    assert failures.view(KEPT_SECONDS) == ()
    failures.note("app", "acme", "offline", 503, KEPT_SECONDS)
    assert [view.count for view in failures.view(KEPT_SECONDS)] == [1]


def test_many_classes_of_one_organisation_leave_the_last() -> None:
    failures = LastFailures()
    for number in range(CLASSES_MAX + 3):
        failures.note("app", "acme", f"class{number}", 500, float(number))
    kept = [view.class_ for view in failures.view(10.0)]
    assert kept == [f"class{number}" for number in range(CLASSES_MAX + 2, 2, -1)]


@given(st.lists(st.integers(0, ORGANISATIONS_MAX + 50), max_size=50))
def test_however_many_organisations_fail_a_thousand_are_kept(again: list[int]) -> None:
    failures = LastFailures()
    for now, number in enumerate([*range(ORGANISATIONS_MAX + 50), *again]):
        failures.note("app", f"t{number}", "offline", 503, float(now))
    views = failures.view(ORGANISATIONS_MAX + 100.0)
    assert len({view.tenant for view in views}) == ORGANISATIONS_MAX
    ages = [view.seconds for view in views]
    assert ages == sorted(ages)


@pytest.mark.looptime
async def test_a_sidecar_notes_what_failed_and_nothing_else() -> None:
    async with both() as (proxy, simulator):
        await proxy.ask(request())
        assert (await proxy.status())["failures"] == []
        simulator.offline("t1")
        await proxy.ask(request(b"GET /api.xro/2.0/Contacts", b"Prefer: wait=1"))
        await proxy.ask(request(b"GET /api.xro/2.0/Contacts", b"Xero-Tenant-Id: " + b"t" * 101))
        found = [
            (each["tenant"], each["class"], each["status"]) for each in (await proxy.status())["failures"]
        ]
        assert found == [("", "tenant_invalid", 400), ("t1", "refused_offline", 503)]
