"""Access and refresh tokens, as identity.xero.com gives them.

Any bearer token is good until the simulator is told to expire it; one that was issued here, or
any other JWT, names its app in `client_id`, and an opaque one belongs to `default`. A JWT that names no user
(`xero_userid`) is a custom connection's. A refresh token that was never seen is taken as issued before the
simulator started. Signatures are noise: nobody here checks them.
"""

from __future__ import annotations

import binascii
import json
from base64 import b64decode, urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, replace
from random import Random
from urllib.parse import parse_qs, unquote
from uuid import NAMESPACE_DNS, uuid5

from proxy.simulator.answers import NOT_FOUND, Answer, SimRequest, as_json, token_expired, unauthenticated

ACCESS_SECONDS = 1800
REFRESH_SECONDS = 60 * 86400
GRACE_SECONDS = 1800
"""How long a spent refresh token still works, so that a lost reply does not lose the connection."""
DEFAULT_APP = "default"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token as seen: its app, and when it expires (seconds since 1970; None: never)."""

    app: str
    expires: float | None = None
    of_user: bool = True
    """Whether a user gave it. If not, it is a custom connection's, which has one organisation: its own."""


class Tokens:
    """The tokens of all apps. `wall` is the simulator's wall clock, in seconds since 1970."""

    def __init__(self, random: Random, base_url: str, *, check_expiry: bool) -> None:
        self._random = random
        self._base_url = base_url
        self._check_expiry = check_expiry
        self._seen: dict[str, Token] = {}
        self._refresh_ends: dict[str, float] = {}

    def bearer(self, authorization: str, wall: float, instance: str) -> Token | Answer:
        """The token of an Authorization header, or the 401."""
        scheme, _, credentials = authorization.partition(" ")
        if scheme.lower() != "bearer" or not credentials.strip():
            return unauthenticated(instance)
        credentials = credentials.strip()
        token = self._seen.get(credentials)
        if token is None:
            token = self._seen[credentials] = _read(credentials, check_expiry=self._check_expiry)
        if token.expires is not None and token.expires <= wall:
            return token_expired(token.expires, instance)
        return token

    def expire(self, wall: float) -> None:
        """Expire every access token that was seen or issued so far."""
        self._seen = {credentials: replace(token, expires=wall) for credentials, token in self._seen.items()}

    def perform(self, request: SimRequest, wall: float) -> Answer:
        """Execute one call to the identity host."""
        match (request.method, request.path.lower()):
            case ("POST", "/connect/token"):
                return self._grant(request, wall)
            case ("POST", "/connect/revocation"):
                return self._revoke(request)
            case ("GET", "/.well-known/openid-configuration"):
                return _discovery(self._base_url)
            case _:
                return NOT_FOUND

    def _grant(self, request: SimRequest, wall: float) -> Answer:
        form = {name: values[-1] for name, values in parse_qs(request.body.decode("latin-1")).items()}
        client = _client(request, form)
        match form.get("grant_type"):
            case _ if not client:
                return _refused("invalid_client")
            case "refresh_token" if self._spend(form.get("refresh_token", ""), wall):
                return self._issued(client, form, wall, refresh=True)
            case "authorization_code" if form.get("code"):
                return self._issued(client, form, wall, refresh=True)
            case "client_credentials":
                return self._issued(client, form, wall, refresh=False)
            case "refresh_token" | "authorization_code":
                return _refused("invalid_grant")
            case _:
                return _refused("unsupported_grant_type")

    def _revoke(self, request: SimRequest) -> Answer:
        """200 whether the token is known or not (RFC 7009)."""
        for token in parse_qs(request.body.decode("latin-1")).get("token", []):
            self._refresh_ends[token] = 0.0
        return Answer(200)

    def _spend(self, refresh: str, wall: float) -> bool:
        """Use a refresh token. Its first use starts the grace; using it again does not prolong it."""
        ends = self._refresh_ends.get(refresh, wall + REFRESH_SECONDS)
        if not refresh or wall >= ends:
            return False
        self._refresh_ends[refresh] = min(ends, wall + GRACE_SECONDS)
        return True

    def _issued(self, client: str, form: dict[str, str], wall: float, *, refresh: bool) -> Answer:
        scope = form.get("scope", "offline_access accounting.transactions accounting.contacts")
        claims = {
            "nbf": int(wall),
            "exp": int(wall) + ACCESS_SECONDS,
            "iss": "https://identity.xero.com",
            "aud": "https://identity.xero.com/resources",
            "client_id": client,
            "scope": scope.split(),
            "jti": f"{self._random.getrandbits(128):032x}",
        }
        if refresh:
            claims["xero_userid"] = str(uuid5(NAMESPACE_DNS, client))
        access = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}.{self._noise(256)}"
        self._seen[access] = _read(access, check_expiry=self._check_expiry)
        grant = {"access_token": access, "expires_in": ACCESS_SECONDS, "token_type": "Bearer", "scope": scope}
        if refresh:
            grant["refresh_token"] = self._noise(32)
            self._refresh_ends[str(grant["refresh_token"])] = wall + REFRESH_SECONDS
        return as_json(200, grant)

    def _noise(self, length: int) -> str:
        return urlsafe_b64encode(self._random.randbytes(length)).decode().rstrip("=")


def _discovery(base: str) -> Answer:
    return as_json(
        200,
        {
            "issuer": "https://identity.xero.com",
            "authorization_endpoint": f"{base}/identity/connect/authorize",
            "token_endpoint": f"{base}/connect/token",
            "revocation_endpoint": f"{base}/connect/revocation",
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        },
    )


def _read(credentials: str, *, check_expiry: bool) -> Token:
    """The app, and the expiry if it is to be checked, of a JWT; anything else is the default app's."""
    try:
        payload = credentials.split(".")[1]
        claims = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        expires = float(claims["exp"]) if check_expiry and "exp" in claims else None
        return Token(str(claims["client_id"]), expires, of_user="xero_userid" in claims)
    except (IndexError, KeyError, TypeError, ValueError):
        return Token(DEFAULT_APP)


def _client(request: SimRequest, form: dict[str, str]) -> str:
    """The client id, from HTTP Basic (RFC 6749, 2.3.1) or from the form."""
    scheme, _, credentials = request.header(b"authorization").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", "")
    try:
        return unquote(b64decode(credentials).decode().partition(":")[0])
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _refused(error: str) -> Answer:
    return as_json(400, {"error": error})


def _part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
