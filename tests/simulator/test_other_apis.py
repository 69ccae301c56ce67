from __future__ import annotations

import pytest

from proxy.simulator.other_apis import OTHER_APIS
from tests.simulator.calls import ask, call, make, said


@pytest.mark.parametrize("api", OTHER_APIS)
def test_what_another_api_was_sent_can_be_listed_read_changed_and_deleted(api: str) -> None:
    xero = make()
    made = said(ask(xero, call("POST", f"{api}things", {"name": "one"})))
    path = f"{api.upper()}things/{made['id']}"
    assert said(ask(xero, call(path=f"{api}Things"))) == {"items": [made]}
    changed = said(ask(xero, call("PATCH", path, {"name": "two"})))
    assert changed == {**made, "name": "two"} == said(ask(xero, call(path=path)))
    assert ask(xero, call("DELETE", path)).status == 204
    assert said(ask(xero, call(path=f"{api}things"))) == {"items": []}
    assert ask(xero, call("TRACE", f"{api}things")).status == 404


def test_a_file_is_told_by_its_length() -> None:
    answer = ask(make(), call("POST", "/files.xro/1.0/Files", b"\x89PNG"))
    assert said(answer)["bytes"] == 4


def test_organisations_do_not_see_each_others_and_no_other_version_exists() -> None:
    xero = make()
    ask(xero, call("POST", "/projects.xro/2.0/Projects", {"name": "one"}))
    assert said(ask(xero, call(path="/projects.xro/2.0/Projects", tenant="t2"))) == {"items": []}
    assert ask(xero, call(path="/practicemanager/2.0/clients")).status == 404
