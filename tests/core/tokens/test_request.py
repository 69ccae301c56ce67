from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.model import Headers
from proxy.core.tokens.request import FORM_BYTES, TokenRequest, refresh_key, token_request
from proxy.core.wire.fields import Fields

FORM = (b"Content-Type", b"application/x-www-form-urlencoded")
BODY = b"grant_type=refresh_token&refresh_token=old"
texts = st.text(min_size=1, max_size=20)


def basic(pair: str = "id:s3cret") -> tuple[bytes, bytes]:
    return (b"Authorization", b"Basic " + b64encode(pair.encode()))


USUAL = (FORM, basic())


def read(
    body: bytes = BODY,
    headers: Headers = USUAL,
    method: str = "POST",
    target: bytes = b"/connect/token",
) -> TokenRequest | None:
    return token_request(method, target, Fields(headers), body)


def secret_of(body: bytes = BODY, headers: Headers = USUAL) -> bytes:
    found = read(body, headers)
    assert found is not None
    assert found.secret is not None
    return found.secret


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        # xero-python
        (
            (FORM,),
            b"grant_type=refresh_token&scope=b+a&refresh_token=old&client_id=id&client_secret=s3cret",
        ),
        # pyxero over requests-oauthlib
        (
            ((b"content-type", b"application/x-www-form-urlencoded;charset=UTF-8"), basic()),
            b"grant_type=refresh_token&scope=a%20b&refresh_token=old",
        ),
        # xero-node, and openid-client, which encodes what it puts into Basic
        (
            (FORM, (b"authorization", b"basic " + b64encode(b"id:s3%63ret"))),
            b"refresh_token=old&grant_type=refresh_token&scope=a+b",
        ),
    ],
)
def test_each_clients_way_to_refresh_is_the_same_refresh(headers: Headers, body: bytes) -> None:
    found = read(body, headers)
    assert found is not None
    assert (found.client, found.refreshes, found.connects) == ("id", True, True)
    assert found.secret == secret_of(BODY + b"&scope=a+b")


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY.replace(b"old", b"new"), USUAL),
        (BODY + b"&scope=a", USUAL),
        (BODY + b"&resource=x", USUAL),
        (BODY, (FORM, basic("other:s3cret"))),
        (BODY, (FORM, basic("id:guess"))),
        (BODY + b"&client_id=id", (FORM,)),
        (BODY + b"&client_id=id&client_secret=", (FORM,)),
    ],
)
def test_what_could_change_the_answer_makes_another_refresh(body: bytes, headers: Headers) -> None:
    assert secret_of(body, headers) != secret_of()


def test_a_public_client_needs_no_secret() -> None:
    assert secret_of(BODY + b"&client_id=id", (FORM,)) != secret_of(BODY + b"&client_id=i", (FORM,))


def test_a_client_may_be_named_in_the_form_beside_basic() -> None:
    assert secret_of(BODY + b"&client_id=id") == secret_of()


@pytest.mark.parametrize("grant", ["authorization_code", "client_credentials", "password", ""])
def test_another_grant_names_its_client_and_is_not_shared(grant: str) -> None:
    found = read(f"grant_type={grant}&code=x".encode())
    assert found == TokenRequest("id", grant)
    assert found.connects == (grant == "authorization_code")
    assert not found.refreshes


def test_a_refresh_without_a_token_is_not_shared() -> None:
    assert read(b"grant_type=refresh_token&refresh_token=") == TokenRequest("id", "refresh_token")


def test_a_client_id_that_is_no_name_is_not_shown() -> None:
    found = read(BODY, (FORM, basic("a b\n:s3cret")))
    assert found is not None
    assert found.client == "default"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"grant_type", USUAL),
        (BODY + b"&refresh_token=two", USUAL),
        (BODY + b"&x=%ff", USUAL),
        (BODY + b"&x=\xc3\xa4", USUAL),
        (BODY + b"&a=1" * 30, USUAL),
        (BODY + b"&x=" + b"1" * FORM_BYTES, USUAL),
        (BODY, (basic(),)),
        (BODY, ((b"Content-Type", b"application/json"), basic())),
        (BODY, (FORM, FORM, basic())),
        (BODY, (FORM, (b"Content-Encoding", b"gzip"), basic())),
        (BODY, (FORM,)),
        (BODY, (FORM, (b"Authorization", b"Bearer id"))),
        (BODY, (FORM, (b"Authorization", b"Basic !"))),
        (BODY, (FORM, (b"Authorization", b"Basic " + b64encode(b"no colon")))),
        (BODY, (FORM, (b"Authorization", b"Basic " + b64encode(b"\xff:x")))),
        (BODY, (FORM, (b"Authorization", b"Basic " + b64encode(b"%ff:x")))),
        (BODY, (FORM, basic(), basic())),
        (BODY + b"&client_id=other", USUAL),
        (BODY + b"&client_secret=s3cret", USUAL),
    ],
)
def test_what_is_not_understood_beyond_doubt_is_left_alone(body: bytes, headers: Headers) -> None:
    assert read(body, headers) is None


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", b"/connect/token"),
        ("POST", b"/connect/revocation"),
        ("POST", b"/connect/token?x=1"),
        ("POST", b"/connect/token/"),
    ],
)
def test_only_the_token_endpoint_gives_tokens(method: str, target: bytes) -> None:
    assert read(method=method, target=target) is None


@given(st.tuples(texts, texts, texts), st.tuples(texts, texts, texts))
def test_two_refreshes_are_the_same_only_where_all_three_secrets_are(
    one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    def ask(client: str, secret: str, token: str) -> bytes:
        pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
        form = urlencode({"grant_type": "refresh_token", "refresh_token": token})
        authorization = (b"Authorization", b"Basic " + b64encode(pair.encode()))
        return secret_of(form.encode(), (FORM, authorization))

    assert (ask(*one) == ask(*other)) == (one == other)


def test_the_name_of_a_refresh_is_not_its_secret() -> None:
    secret = secret_of()
    assert refresh_key(secret) not in {secret, b""}
    assert refresh_key(secret) == refresh_key(secret_of())
    assert b"old" not in secret + refresh_key(secret)
