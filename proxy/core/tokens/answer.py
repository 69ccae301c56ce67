"""An answer of the token endpoint as bytes, for other replicas."""

from __future__ import annotations

import json
from typing import NamedTuple

from proxy.core.model import Headers
from proxy.core.tokens.request import token_name

_TOKENS = ("refresh_token", "access_token")


class TokenAnswer(NamedTuple):
    """What the identity host said, and when: `at` is seconds since 1970."""

    status: int
    reason: bytes
    headers: Headers
    body: bytes
    at: float


def tokens_in(body: bytes) -> tuple[bytes, ...]:
    """The names of the tokens that an answer gives; none where it is no JSON object."""
    try:
        members = json.loads(body)
    except (ValueError, RecursionError):
        return ()
    given = [members.get(name) for name in _TOKENS] if isinstance(members, dict) else []
    return tuple(token_name(token) for token in given if isinstance(token, str))


def pack(answer: TokenAnswer) -> bytes:
    """`answer` as bytes that only `unpack` has to understand."""
    headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in answer.headers]
    texts = [answer.reason.decode("latin-1"), headers, answer.body.decode("latin-1")]
    return json.dumps([answer.status, *texts, answer.at]).encode()


def unpack(packed: bytes) -> TokenAnswer | None:
    """What `pack` was given; None for anything that is not of its making."""
    try:
        status, reason, headers, body, at = json.loads(packed)
        return TokenAnswer(
            int(status),
            reason.encode("latin-1"),
            tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers),
            body.encode("latin-1"),
            float(at),
        )
    except (ValueError, TypeError, AttributeError):
        return None
