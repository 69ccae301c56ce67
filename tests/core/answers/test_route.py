from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.apis import load_apis
from proxy.core.answers.route import AppIds, Families, app_id, route, tenant_of, terms_of
from proxy.core.model import Headers, Host, Route, Terms
from proxy.core.wire.fields import Fields
from proxy.core.wire.headers import end_to_end_request

PREFIXES = load_apis()
TENANT = b"6F5A0E9C-0000-4000-8000-0123456789ab"
HEADERS: Headers = ((b"Accept", b"*/*"), (b"xero-tenant-id", TENANT))


def token(claims: object) -> bytes:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
    return b"Bearer e30." + payload + b".c2ln"


def look(target: bytes, headers: Headers) -> Route | str:
    terms = terms_of(Fields(headers), AppIds())._replace(app="app", credentials=True)
    return route(target, terms, Families(PREFIXES))


def routed(target: bytes, headers: Headers = HEADERS) -> Route:
    found = look(target, headers)
    assert isinstance(found, Route)
    return found


@pytest.mark.parametrize(
    ("target", "api", "template"),
    [
        (b"/api.xro/2.0/Invoices", "accounting", "/api.xro/2.0/Invoices"),
        (b"/API.XRO/2.0/Invoices?where=Name", "accounting", "/api.xro/2.0/Invoices"),
        (b"/api.xro/2.0/Invoices/INV-1/Notes/x.pdf", "accounting", "/api.xro/2.0/Invoices/{id}/Notes/{id}"),
        (b"/api.xro/2.0/Contacts/Smith", "accounting", "/api.xro/2.0/Contacts/{id}"),
        (b"/api.xro/2.0/a1/b/c%20d", "accounting", "/api.xro/2.0/{id}/{id}/{id}"),
        (b"/api.xro/2.0/a/b/c/d/e/f/g/h", "accounting", "/api.xro/2.0/a/{id}/c/{id}/e/{id}/*"),
        (b"/api.xro/2.0/" + b"a" * 41, "accounting", "/api.xro/2.0/{id}"),
        (b"/api.xro/2.0", "accounting", "/api.xro/2.0"),
        (b"/api.xro/2.0/Invoices/", "accounting", "/api.xro/2.0/Invoices"),
        (b"/payroll.xro/1.0/Employees", "payroll_au", "/payroll.xro/1.0/Employees"),
        (b"/payroll.xro/2.0/Employees", "payroll", "/payroll.xro/2.0/Employees"),
        (b"/api.xro/2.0evil/Invoices", "other", "/*"),
        (b"/api.xro/2%2e0/Invoices", "other", "/*"),
        (b"/api.xro", "other", "/*"),
        (b"/", "other", "/*"),
    ],
)
def test_a_path_of_the_api_host_spends_the_organisations_limits(
    target: bytes, api: str, template: str
) -> None:
    assert routed(target) == Route(
        Host.API, api, "app", TENANT.decode().lower(), limited=True, template=template, keys=api != "other"
    )


@pytest.mark.parametrize("target", [b"/connections", b"/Connections?x", b"/connections/0c3e-1"])
def test_connections_spend_only_the_apps_limit(target: bytes) -> None:
    found = routed(target)
    assert (found.host, found.api, found.tenant, found.limited) == (Host.API, "identity", None, True)


@pytest.mark.parametrize(
    "target", [b"/connect/token", b"/Connect/revocation", b"/.well-known/openid-configuration"]
)
def test_the_identity_host_knows_no_limits(target: bytes) -> None:
    found = routed(target, ())
    assert (found.host, found.api, found.tenant, found.limited) == (Host.IDENTITY, "token", None, False)


def test_what_is_called_at_the_identity_host_is_shown_only_where_it_is_known() -> None:
    found = [routed(b"/connect/token"), routed(b"/connect/topsecret")]
    assert [each.template for each in found] == ["/connect/token", "/connect/{id}"]


@pytest.mark.parametrize("start", [b"/connections", b"/connect", b"/.well-known/openid-configuration"])
@pytest.mark.parametrize(
    "way", [b"/..", b"/.", b"/%2e%2e", b"/..%2fapi.xro", b"/..\\api.xro", b"/..;", b"/%252e"]
)
def test_no_way_leads_out_of_an_exempt_prefix_without_being_limited(start: bytes, way: bytes) -> None:
    found = routed(start + way + b"/api.xro/2.0/Invoices")
    assert (found.host, found.api, found.limited) == (Host.API, "other", True)
    assert found.tenant is not None


@pytest.mark.parametrize(
    "target", [b"", b"*", b"//evil.test/x", b"http://evil.test/", b"evil.test:443", b"?/x"]
)
def test_a_target_that_is_no_path_is_refused(target: bytes) -> None:
    assert look(target, HEADERS) == "invalid_request"


@pytest.mark.parametrize("headers", [(), ((b"Xero-Tenant-Id", b""),), ((b"Xero-Tenant-Id", b" "),)])
def test_a_request_without_a_tenant_spends_the_limits_of_the_app_itself(headers: Headers) -> None:
    assert routed(b"/api.xro/2.0/Organisation", headers).tenant == "app"


@pytest.mark.parametrize(
    "values", [[b"a\x00b"], [b"a\r\nb"], [b"\x7f"], [b"\xe9"], [b"x" * 101], [b"one", b"two"], [b"one", b""]]
)
def test_a_header_that_cannot_name_an_organisation_is_refused(values: list[bytes]) -> None:
    headers = tuple((b"XERO-TENANT-ID", value) for value in values)
    assert look(b"/api.xro/2.0/Invoices", headers) == "tenant_invalid"
    assert tenant_of(Fields(headers)) is None


def test_one_organisation_spelled_in_two_ways_is_one() -> None:
    assert (
        tenant_of(Fields(((b"Xero-Tenant-Id", TENANT), (b"xero-tenant-id", TENANT.lower()))))
        == TENANT.decode().lower()
    )


def test_the_app_is_the_client_id_of_the_token() -> None:
    assert app_id(token({"client_id": "0A1B2C"})) == "0A1B2C"
    assert app_id(b"bEARER  " + token({"client_id": "0A1B2C"})[7:]) == "0A1B2C"


DEEP = b"Bearer e30." + base64.urlsafe_b64encode(b"[" * 11_000).rstrip(b"=") + b".x"


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer opaque",
        b"Bearer a.b",
        b"Bearer e30.!.x",
        b"Bearer e30.e.x",
        b"Bearer e30.\xff\xfe.x",
        DEEP,
        b"Basic" + token({"client_id": "x"})[6:],
        token([]),
        token({}),
        token({"client_id": 7}),
        token({"client_id": ""}),
        token({"client_id": "a b"}),
        token({"client_id": "a\nb"}),
        token({"client_id": "\u00e9"}),
        token({"client_id": "\ud800"}),
        token({"client_id": "x" * 101}),
        token({"client_id": "x", "more": "y" * 20_000}),
    ],
)
def test_a_token_that_names_no_app_is_the_default_apps(authorization: bytes | None) -> None:
    assert app_id(authorization) == "default"
    assert AppIds().of(authorization) == "default"


def test_the_oldest_token_is_forgotten_first() -> None:
    ids = AppIds(size=2)
    one, two, three = (token({"client_id": name}) for name in ("one", "two", "three"))
    assert [ids.of(each) for each in (one, two, one, three, one)] == ["one", "two", "one", "three", "one"]
    assert list(ids._names.values()) == ["three", "one"]


def test_no_token_is_kept() -> None:
    ids = AppIds()
    ids.of(token({"client_id": "one"}))
    assert all(isinstance(key, int) for key in ids._names)


@given(
    st.binary(max_size=60),
    st.lists(st.tuples(st.just(b"xero-tenant-id"), st.binary(max_size=20)), max_size=2),
)
def test_any_target_is_routed_or_refused(target: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    for start in (b"", b"/", b"/connections/", b"/api.xro/2.0/"):
        found = look(start + target, tuple(headers))
        if isinstance(found, str):
            assert found in {"invalid_request", "tenant_invalid"}
        else:
            assert found.template.isascii()
            assert found.template.isprintable()
            assert found.limited is (found.host is Host.API)


@given(
    st.sampled_from(sorted(PREFIXES)),
    st.lists(st.from_regex(rb"\A[a-zA-Z0-9%._~-]{1,60}\Z"), max_size=9),
    st.binary(max_size=20),
)
def test_no_id_and_no_query_survives_in_the_template(
    prefix: bytes, segments: list[bytes], query: bytes
) -> None:
    found = routed(prefix + b"".join(b"/" + segment for segment in segments) + b"?" + query)
    if found.template == "/*":
        return
    kept = found.template.removeprefix(PREFIXES[prefix].prefix).split("/")[1:]
    assert len(kept) <= 7
    for place, (shown, segment) in enumerate(zip(kept, segments, strict=False)):
        if place % 2 == 1:
            assert shown == "{id}"
        elif shown not in {"{id}", "*"}:
            assert shown.encode() == segment
            assert shown.isalpha()
            assert len(shown) <= 40


@given(st.binary(max_size=100), st.recursive(st.none() | st.text() | st.integers(), st.lists))
def test_any_authorization_gives_a_name(raw: bytes, value: object) -> None:
    for authorization in (raw, b"Bearer " + raw, b"Bearer a." + raw + b".b", token({"client_id": value})):
        name = app_id(authorization)
        assert 0 < len(name) <= 100
        assert name.isascii()
        assert name.isprintable()


def test_what_fields_say_is_looked_for_once_and_is_the_same_each_time() -> None:
    headers = (*HEADERS, (b"Prefer", b"wait=3"), (b"Priority", b"u=1"), (b"Idempotency-Key", b"k"))
    fields, apps = Fields(headers), AppIds()
    terms = terms_of(fields, apps)
    assert terms_of(fields, apps) is terms
    onward = end_to_end_request(Fields(headers))
    assert terms == Terms(
        "default", TENANT.lower().decode(), 3.0, 1, b"k", (), credentials=False, headers=onward, utf8=True
    )


@pytest.mark.parametrize(("value", "utf8"), [("\u00e9".encode(), True), (b"\xe9", False), (b"\xff", False)])
def test_it_is_known_whether_all_that_goes_to_xero_is_utf8(value: bytes, *, utf8: bool) -> None:
    assert terms_of(Fields(((b"If-Match", value),)), AppIds()).utf8 is utf8
    assert terms_of(Fields(((b"Connection", value),)), AppIds()).utf8


@pytest.mark.parametrize("value", [b"", b" \t", b"Bearer", b"bearer "])
@pytest.mark.parametrize("path", [b"/api.xro/2.0/Invoices", b"/connections", b"/unknown"])
def test_the_api_host_is_asked_for_nothing_without_credentials(value: bytes, path: bytes) -> None:
    families = Families(PREFIXES)
    for headers in (HEADERS, (*HEADERS, (b"Authorization", value))):
        terms = terms_of(Fields(headers), AppIds())
        assert route(path, terms, families) == "unauthenticated"
        assert isinstance(route(b"/connect/token", terms, families), Route)


@pytest.mark.parametrize("value", [b"Bearer x", b"Basic eDp5", b"x"])
def test_whatever_may_be_credentials_is_for_xero_to_judge(value: bytes) -> None:
    terms = terms_of(Fields((*HEADERS, (b"Authorization", value))), AppIds())
    assert isinstance(route(b"/connections", terms, Families(PREFIXES)), Route)
