"""Under what names a sidecar is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.core.wire.strict import Own
from proxy.http.names import names_of_service, own_names
from tests.e2e.harness import both, request

POD = "xero-proxy-6d5f9c7b8-x2x4z"
RESOLVER = "nameserver 10.0.0.10\nsearch Payments.svc.cluster.local svc.cluster.local cluster.local\n"


def test_a_pod_answers_to_the_name_of_its_deployment_in_its_namespace() -> None:
    names = names_of_service(RESOLVER, POD)
    assert {b"xero-proxy.payments", b"xero.payments"} <= names
    assert not {name for name in names if not name.endswith(b".payments")}
    assert b"evil.payments" not in names


@pytest.mark.parametrize(
    "resolver", ["", "nameserver 10.0.0.10\n", "search\n", "search example.org svc.cluster.local\n"]
)
def test_elsewhere_than_in_a_pod_there_are_none(resolver: str) -> None:
    assert names_of_service(resolver, POD) == frozenset()


def test_the_setting_names_hosts_and_whole_domains(tmp_path: Path) -> None:
    resolver = tmp_path / "resolv.conf"
    assert own_names(["a.example", ".b.example"], resolver, "pod") == Own(
        frozenset({b"a.example"}), frozenset({b"b.example"})
    )
    resolver.write_text("search ns.svc.cluster.local")
    assert own_names([], resolver, "pod") == Own(frozenset({b"pod.ns"}))


@pytest.mark.parametrize(
    ("host", "good"),
    [
        (b"xero.example.org", True),
        (b"XERO.example.org.:8080", True),
        (b"example.net", True),
        (b"a.b.example.net", True),
        (b"example.org", False),
        (b"evilexample.net", False),
    ],
)
async def test_both_ports_answer_to_the_names_of_the_setting(host: bytes, good: bool) -> None:
    wanted = (200, 200) if good else (421, 421)
    async with both(None, allowed_hosts="Xero.example.org, .example.net") as (proxy, _):
        callers, admin = (
            request(b"GET /connections", b"Host: " + host),
            request(b"GET /livez", b"Host: " + host),
        )
        assert ((await proxy.ask(callers)).status, (await proxy.ask_admin(admin)).status) == wanted
        absolute = request(b"GET http://" + host + b"/connections")
        assert (await proxy.ask(absolute)).status == wanted[0]
