"""Secrets: given in the environment or in a file, never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from config.settings import Settings, effective
from config.values import egress_proxy
from tests.config.test_settings import CANARY, problems, read


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_can_stand_in_a_file(tmp_path: Path, end: str) -> None:
    file = tmp_path / "token"
    file.write_bytes((CANARY + end).encode())
    assert read(ADMIN_TOKEN_FILE=str(file)).admin_token == CANARY
    assert read(ADMIN_TOKEN_FILE=str(file), ADMIN_TOKEN="").admin_token == CANARY
    assert read(ADMIN_TOKEN_FILE="").admin_token == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "names a file that is empty"),
        (b"\n", "names a file that is empty"),
        (b"x" * 65537, "names a file that is too large"),
        (b"\xff", "names a file that is not UTF-8 text"),
        (CANARY.encode() + b" and more", "must hold printable ASCII without spaces"),
    ],
)
def test_a_file_that_holds_no_secret_is_refused_by_its_variable(
    tmp_path: Path, content: bytes, why: str
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert problems(ADMIN_TOKEN_FILE=str(file)) == [f"XERO_PROXY_ADMIN_TOKEN_FILE {why}"]


def test_a_file_that_cannot_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    start = "XERO_PROXY_ADMIN_TOKEN_FILE names a file that cannot be read: "
    assert problems(ADMIN_TOKEN_FILE=str(tmp_path / CANARY)) == [start + os.strerror(2)]
    assert problems(ADMIN_TOKEN_FILE=str(tmp_path)) == [start + os.strerror(21)]
    assert problems(ADMIN_TOKEN_FILE="\0") == ["XERO_PROXY_ADMIN_TOKEN_FILE must be a path"]


def test_a_secret_given_in_both_ways_is_refused() -> None:
    (found,) = problems(ADMIN_TOKEN=CANARY, ADMIN_TOKEN_FILE="/x")
    assert found == "XERO_PROXY_ADMIN_TOKEN and XERO_PROXY_ADMIN_TOKEN_FILE are both given; only one can be"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://user:{CANARY}@redis:6379/0", "redis://********@redis:6379/0"),
        ("rediss://redis:6379", "rediss://redis:6379"),
        (f"redis://redis/0?password={CANARY}", "********"),
        (f"redis://user:a/{CANARY}@redis", "********"),
        (f"redis://user:a?{CANARY}@redis/0", "********"),
    ],
)
def test_secrets_are_never_shown(url: str, shown: str) -> None:
    settings = Settings(redis_url=url, admin_token=CANARY, upstream_proxy=f"http://a:{CANARY}@proxy:3128")
    texts = dict(effective(settings))
    assert (texts["XERO_PROXY_REDIS_URL"], texts["XERO_PROXY_ADMIN_TOKEN"]) == (shown, "********")
    assert texts["XERO_PROXY_UPSTREAM_PROXY"] == "http://********@proxy:3128"
    assert CANARY not in f"{settings} {settings!r} {texts}"


@pytest.mark.parametrize(
    ("url", "where", "authorization"),
    [
        ("http://proxy", "http://proxy:80", ""),
        ("http://PROXY:3128/", "http://proxy:3128", ""),
        ("http://[::1]:3128", "http://[::1]:3128", ""),
        ("http://user:pw@proxy:3128", "http://proxy:3128", "Basic dXNlcjpwdw=="),
        ("http://u%40x:p%3A%2Fw@proxy:1", "http://proxy:1", "Basic dUB4OnA6L3c="),
        ("http://user:p@w@proxy:1", "http://proxy:1", "Basic dXNlcjpwQHc="),
        ("http://user:%C3%A9@proxy:1", "http://proxy:1", "Basic dXNlcjrDqQ=="),
        ("http://user@proxy:1", "http://proxy:1", "Basic dXNlcjo="),
        ("http://@proxy:1", "http://proxy:1", ""),
    ],
)
def test_user_and_password_of_a_proxy_are_decoded_and_not_shown(
    url: str, where: str, authorization: str
) -> None:
    proxy = egress_proxy(url)
    assert proxy is not None
    assert (str(proxy), proxy.authorization) == (where, authorization)
    assert "Basic" not in repr(proxy)


def test_the_address_of_a_proxy_can_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "proxy"
    file.write_text(f"http://user:{CANARY}@proxy:3128\n")
    assert read(UPSTREAM_PROXY_FILE=str(file)).upstream_proxy == f"http://user:{CANARY}@proxy:3128"
