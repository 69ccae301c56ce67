from __future__ import annotations

from typing import Any

import pytest

from config.apis import BadApis, load_apis, read_apis
from proxy.core.model import Host


def test_every_api_of_xero_has_its_family() -> None:
    assert {key.decode(): family.name for key, family in load_apis().items()} == {
        "/api.xro/2.0": "accounting",
        "/assets.xro/1.0": "assets",
        "/files.xro/1.0": "files",
        "/bankfeeds.xro/1.0": "bankfeeds",
        "/finance.xro/1.0": "finance",
        "/projects.xro/2.0": "projects",
        "/payroll.xro/1.0": "payroll_au",
        "/payroll.xro/2.0": "payroll",
        "/appstore/2.0": "appstore",
        "/practicemanager/3.0": "practicemanager",
        "/practicemanager/3.1": "practicemanager",
        "/connections": "identity",
        "/connect": "token",
        "/.well-known/openid-configuration": "token",
    }


def test_only_the_identity_host_and_connections_know_no_tenant() -> None:
    families = load_apis().values()
    assert {family.prefix for family in families if family.host is Host.IDENTITY} == {
        "/connect",
        "/.well-known/openid-configuration",
    }
    assert {family.name for family in families if not family.tenant} == {"identity", "token"}


def test_keys_are_trusted_where_xeros_documents_say_so_and_nowhere_else() -> None:
    untrusted = {family.name for family in load_apis().values() if not family.keys}
    assert untrusted == {"practicemanager", "token"}
    assert not read_apis({"api": [{"family": "x", "prefix": "/x"}]})[b"/x"].keys


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prefx": "/a"}, "unknown prefx"),
        ({"prefix": "a"}, "a prefix has"),
        ({"prefix": "/a/b/c"}, "a prefix has"),
        ({"prefix": "/a/"}, "a prefix has"),
        ({"prefix": "/ä"}, "a prefix has"),
        ({"host": "elsewhere"}, "unknown host elsewhere"),
        ({"host": "identity"}, "knows no tenant"),
        ({"host": "identity", "tenant": False, "keys": True}, "the identity host honours none"),
        ({"keys": "yes"}, "keys is true or false"),
        ({"family": ""}, "family is missing"),
        ({"prefix": "/X"}, "two rows"),
    ],
)
def test_a_mistake_in_a_row_is_named_with_the_row(change: dict[str, Any], message: str) -> None:
    rows = [{"family": "x", "prefix": "/x"}, {"family": "y", "prefix": "/y", **change}]
    with pytest.raises(BadApis, match=r"^api 2 \(") as found:
        read_apis({"api": rows})
    assert message in str(found.value)
