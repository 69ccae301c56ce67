"""What a request to the token endpoint asks for, and which of them are the same refresh.

A refresh token is spent by its use (RFC 6749, section 6; Xero gives the old one half an hour of grace), so
two requests that refresh the same token for the same client should be one call. They are the same where all
that could change the answer is: the token, the client with its secret, and every other field of the form.
Clients authenticate by HTTP Basic or in the form (section 2.3.1); both count as the same.

Whatever is not understood beyond doubt is not shared: it passes like any other request.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import parse_qsl, unquote_plus

from proxy.core.answers.route import app_name
from proxy.core.wire.fields import Fields

FORM = b"application/x-www-form-urlencoded"
FORM_BYTES = 16 * 1024
"""The largest body that the identity host is sent; tokens and their requests are far smaller."""
FORM_FIELDS = 20
REFRESH, CODE = "refresh_token", "authorization_code"
_AT = b"/connect/token"
_REVOKED_AT = b"/connect/revocation"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """`client` is the client's id, fit to be shown; `grant` the grant type.

    `secret` identifies the refresh, and is derived from everything that makes it one: two requests that have
    the same are the same. None where the request is not one that can be shared. `spends` names the refresh
    token that it spends.
    """

    client: str
    grant: str
    secret: bytes | None = None
    spends: tuple[bytes, ...] = ()

    @property
    def refreshes(self) -> bool:
        """Whether a refresh token is spent."""
        return self.grant == REFRESH

    @property
    def connects(self) -> bool:
        """Whether a success shows that the client has a living connection."""
        return self.grant in {REFRESH, CODE}


def refresh_key(secret: bytes) -> bytes:
    """The name of a refresh, from which nothing leads back to `secret`."""
    return sha256(b"xero-proxy refresh " + secret).digest()


def token_name(token: str) -> bytes:
    """A name for a token, from which nothing leads back to it."""
    return sha256(b"xero-proxy token " + token.encode("utf-8", "surrogatepass")).digest()


def revoked_tokens(method: str, target: bytes, body: bytes) -> tuple[bytes, ...]:
    """The names of the tokens that a request asks to revoke (RFC 7009, section 2.1), in however careless a
    form: what is taken for a revocation and is none costs a call at most.
    """
    if method != "POST" or target.partition(b"?")[0].lower() != _REVOKED_AT or len(body) > FORM_BYTES:
        return ()
    pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
    return tuple(token_name(value) for name, value in pairs if name == "token")


def token_request(method: str, target: bytes, fields: Fields, body: bytes) -> TokenRequest | None:
    """Read a request for tokens; None where it is none, or not one that is understood beyond doubt."""
    if method != "POST" or target.lower() != _AT or b"content-encoding" in fields:
        return None
    media = [value.partition(b";")[0].strip().lower() for value in fields.every(b"content-type")]
    if media != [FORM] or len(body) > FORM_BYTES:
        return None
    form = _form(body)
    if form is None:
        return None
    credentials = _credentials(fields, form)
    if credentials is None:
        return None
    client, secret = credentials
    grant = form.get("grant_type", "")
    known = TokenRequest(app_name(client), grant)
    if grant != REFRESH or not form.get("refresh_token"):
        return known
    if "scope" in form:
        form["scope"] = " ".join(sorted(form["scope"].split()))
    identity = ("client", client, "secret" if secret is None else f"secret {secret}")
    rest = (text for pair in sorted(form.items()) for text in pair)
    spends = (token_name(form["refresh_token"]),)
    return TokenRequest(known.client, grant, _digest((*identity, *rest)), spends)


def _form(body: bytes) -> dict[str, str] | None:
    """The fields of a form, None where it is malformed or names one of them twice."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=FORM_FIELDS,
        )
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _credentials(fields: Fields, form: dict[str, str]) -> tuple[str, str | None] | None:
    """The client's id and secret (None where it has none), taken out of the form; None where they are not
    given in exactly one way.
    """
    client, secret = form.pop("client_id", None), form.pop("client_secret", None)
    given = fields.every(b"authorization")
    if not given:
        return None if client is None else (client, secret)
    basic = _basic(given[0]) if len(given) == 1 else None
    if basic is None or secret is not None or client not in {None, basic[0]}:
        return None
    return basic


def _basic(authorization: bytes) -> tuple[str, str] | None:
    """Id and secret of HTTP Basic, each form-encoded as RFC 6749 has it."""
    scheme, _, credentials = authorization.strip().partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        client, colon, secret = b64decode(credentials.strip(), validate=True).decode().partition(":")
        pair = unquote_plus(client, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:  # no base64, or no UTF-8
        return None
    return pair if colon else None


def _digest(texts: Iterable[str]) -> bytes:
    """A hash that no other row of texts has: each goes in with its length."""
    hashed = sha256()
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        hashed.update(b"%d:" % len(encoded) + encoded)
    return hashed.digest()
