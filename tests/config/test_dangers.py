from __future__ import annotations

from pathlib import Path

import pytest

from config.dangers import dangers
from config.settings import PREFIX, read_settings


def warned(**values: str) -> list[str]:
    """The variables that are warned of."""
    found = dangers(read_settings({PREFIX + name: value for name, value in values.items()}))
    assert all(sentence.startswith(PREFIX) and sentence.endswith(".") for sentence in found)
    return [sentence.split()[0].removeprefix(PREFIX) for sentence in found]


def test_the_defaults_are_not_dangerous() -> None:
    assert warned() == []


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("api.xero.com", True),
        ("8.8.8.8", True),
        ("[2606:4700::1111]", True),
        ("127.0.0.1:8081", False),
        ("10.0.0.7", False),
        ("[::1]:8081", False),
        ("[fd00::1]", False),
        ("simulator:8081", False),
        ("xero.test", False),
        ("simulator.default.svc", False),
        ("localhost", False),
    ],
)
def test_http_to_a_public_host_sends_tokens_in_the_clear(host: str, *, public: bool) -> None:
    both = {"UPSTREAM": f"http://{host}", "IDENTITY_UPSTREAM": f"http://{host}"}
    assert warned(**both) == (["UPSTREAM", "IDENTITY_UPSTREAM"] if public else [])
    assert warned(**{name: url.replace("http:", "https:") for name, url in both.items()}) == []
    redis = warned(REDIS_URL=f"redis://:c4n4ry@{host}")
    assert redis == (["REDIS_URL"] if public and not host.startswith("[") else [])
    assert warned(REDIS_URL=f"rediss://:c4n4ry@{host}") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MINUTE_WINDOW_SECONDS", "6"),
        ("MINUTE_WINDOW_SECONDS", "61"),
        ("TENANT_MINUTE_LIMIT", "61"),
        ("TENANT_CONCURRENT_LIMIT", "6"),
        ("TENANT_DAY_LIMIT", "5001"),
        ("APP_MINUTE_LIMIT", "10001"),
    ],
)
def test_more_than_xero_allows_is_dangerous_against_the_real_xero_alone(name: str, value: str) -> None:
    assert warned(**{name: value}) == [name]
    assert warned(**{name: value, "UPSTREAM": "http://127.0.0.1:8081"}) == []


@pytest.mark.parametrize(
    ("host", "is_open"),
    [
        ("127.0.0.1", False),
        ("127.0.0.2", False),
        ("[::1]", False),
        ("localhost", False),
        ("0.0.0.0", True),  # noqa: S104 - read, never bound to
        ("[::]", True),
        ("10.0.0.7", True),
        ("xero-proxy", True),
    ],
)
def test_a_port_that_others_reach_is_dangerous(host: str, *, is_open: bool) -> None:
    assert warned(LISTEN=f"{host}:0") == (["LISTEN"] if is_open else [])
    assert warned(ADMIN_LISTEN=f"{host}:0") == (["ADMIN_LISTEN"] if is_open else [])


def test_a_port_where_callers_show_certificates_may_be_open(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("certificate", "key", "authorities")]
    for file in files:
        file.touch()
    certificate, key, authorities = map(str, files)
    tls = {"LISTEN": "0.0.0.0:0", "TLS_CERT_FILE": certificate, "TLS_KEY_FILE": key}
    assert warned(**tls) == ["LISTEN"]
    assert warned(**tls, TLS_CLIENT_CA_FILE=authorities) == []


@pytest.mark.parametrize("https", [(), ("UPSTREAM",), ("IDENTITY_UPSTREAM",)])
def test_a_proxy_that_no_upstream_uses_is_told_without_its_password(https: tuple[str, ...]) -> None:
    upstreams = {
        name: f"{'https' if name in https else 'http'}://localhost"
        for name in ("UPSTREAM", "IDENTITY_UPSTREAM")
    }
    values = {**upstreams, "UPSTREAM_PROXY": "http://user:c4n4ry@proxy:3128"}
    assert warned(**values) == ([] if https else ["UPSTREAM_PROXY"])
    assert warned(**upstreams) == []
    settings = read_settings({PREFIX + name: value for name, value in values.items()})
    assert "c4n4ry" not in "".join(dangers(settings))


def test_a_token_that_can_be_guessed_is_dangerous_and_never_told() -> None:
    assert warned(ADMIN_TOKEN="c4n4ry") == ["ADMIN_TOKEN"]
    assert "c4n4ry" not in "".join(dangers(read_settings({PREFIX + "ADMIN_TOKEN": "c4n4ry"})))
    assert warned(ADMIN_TOKEN="c4n4ry" * 6) == []
