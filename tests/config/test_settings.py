from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import PREFIX, BadSettings, Settings, describe, effective, read_settings
from config.values import Address, LogFormat, LogLevel, Origin, TenantLabel

CANARY = "canary-7f3a"

DEFAULTS = {
    "LISTEN": "127.0.0.1:8080",
    "ADMIN_LISTEN": "127.0.0.1:9090",
    "ALLOWED_HOSTS": "",
    "TLS_CERT_FILE": "",
    "TLS_KEY_FILE": "",
    "TLS_CLIENT_CA_FILE": "",
    "UPSTREAM": "https://api.xero.com",
    "IDENTITY_UPSTREAM": "https://identity.xero.com",
    "UPSTREAM_PROXY": "",
    "UPSTREAM_CA_FILE": "",
    "TENANT_MINUTE_LIMIT": "60",
    "TENANT_CONCURRENT_LIMIT": "5",
    "TENANT_DAY_LIMIT": "5000",
    "APP_MINUTE_LIMIT": "10000",
    "MINUTE_WINDOW_SECONDS": "60",
    "MAX_WAIT_SECONDS": "120",
    "QUEUE_LIMIT": "1000",
    "QUEUE_LIMIT_TOTAL": "10000",
    "BODY_MEMORY_BYTES": "1048576",
    "MAX_BODY_BYTES": "26214400",
    "SPOOL_DIR": "",
    "SPOOL_MAX_BYTES": "2147483648",
    "OFFLINE_BACKOFF_SECONDS": "300",
    "RETRY_ATTEMPTS": "4",
    "RETRY_BACKOFF_SECONDS": "0.5",
    "RETRY_BACKOFF_MAX_SECONDS": "30",
    "RETRY_BUDGET": "0.2",
    "RETRY_AFTER_MAX_SECONDS": "300",
    "CONNECT_TIMEOUT_SECONDS": "10",
    "UPSTREAM_TIMEOUT_SECONDS": "330",
    "IDEMPOTENCY": "true",
    "VIA": "false",
    "TOKEN_SINGLE_FLIGHT": "true",
    "DRAIN_SECONDS": "30",
    "STATE_FILE": "",
    "REDIS_URL": "",
    "REDIS_TIMEOUT_SECONDS": "0.25",
    "REDIS_PREFIX": "xero-proxy",
    "REDIS_APP_ID": "",
    "TENANT_LABEL": "id",
    "LOG_LEVEL": "info",
    "LOG_FORMAT": "json",
    "ADMIN_TOKEN": "",
}
MAY_BE_EMPTY = {
    *("ALLOWED_HOSTS", "SPOOL_DIR", "STATE_FILE", "REDIS_URL", "REDIS_APP_ID", "ADMIN_TOKEN"),
    *("TLS_CERT_FILE", "TLS_KEY_FILE", "TLS_CLIENT_CA_FILE", "UPSTREAM_PROXY", "UPSTREAM_CA_FILE"),
}


def read(**values: str) -> Settings:
    return read_settings({PREFIX + name: value for name, value in values.items()})


def problems(**values: str) -> list[str]:
    with pytest.raises(BadSettings) as found:
        read(**values)
    return found.value.problems


def attempt(values: dict[str, str]) -> tuple[Settings | None, list[str]]:
    try:
        return read(**values), []
    except BadSettings as bad:
        return None, bad.problems


def test_nothing_set_gives_the_defaults_of_production() -> None:
    assert read_settings({"PATH": "/bin"}) == Settings()
    assert effective(Settings()) == [(PREFIX + name, text) for name, text in DEFAULTS.items()]


def test_every_setting_is_documented() -> None:
    docs = describe()
    assert {doc.name.removeprefix(PREFIX): doc.default for doc in docs} == DEFAULTS
    assert all(doc.meaning and doc.allowed for doc in docs)
    assert {doc.name for doc in docs if doc.secret} == {
        PREFIX + name for name in ("REDIS_URL", "ADMIN_TOKEN", "UPSTREAM_PROXY")
    }


def test_defaults_written_out_give_the_same_settings() -> None:
    assert read(**DEFAULTS) == Settings()


def test_values_have_their_types() -> None:
    settings = read(
        LISTEN="[::1]:0",
        ADMIN_LISTEN="localhost:0",
        UPSTREAM="HTTP://Simulator:8081/",
        IDENTITY_UPSTREAM="https://[2001:db8::1]",
        TENANT_MINUTE_LIMIT="30",
        RETRY_BUDGET="0.25",
        IDEMPOTENCY="Off",
        TENANT_LABEL="HASH",
        LOG_LEVEL="warning",
        LOG_FORMAT="console",
        ADMIN_TOKEN=CANARY,
    )
    assert (settings.listen, str(settings.listen)) == (Address("::1", 0), "[::1]:0")
    assert settings.admin_listen == Address("localhost", 0)
    assert (settings.upstream, settings.upstream.authority) == (
        Origin("http", "simulator", 8081),
        b"simulator:8081",
    )
    assert settings.identity_upstream.authority == b"[2001:db8::1]"
    assert settings.tenant_minute_limit == 30
    assert settings.retry_budget == 0.25
    assert settings.idempotency is False
    assert settings.tenant_label is TenantLabel.HASH
    assert settings.log_level is LogLevel.WARNING
    assert settings.log_format is LogFormat.CONSOLE
    assert settings.admin_token == CANARY


@pytest.mark.parametrize("text", ["https://api.xero.com", "http://localhost:8081", "http://[::1]:8081"])
def test_an_origin_is_written_as_it_was_read(text: str) -> None:
    assert str(read(UPSTREAM=text).upstream) == text


def test_every_bad_variable_is_reported_at_once_by_its_full_name() -> None:
    found = problems(LISTEN="8080", RETRY_ATTEMPTS="0", LOG_LEVEL="loud", TENANT_LABLE="id")
    assert [problem.split()[0].removeprefix(PREFIX) for problem in found] == [
        "TENANT_LABLE",
        "LISTEN",
        "RETRY_ATTEMPTS",
        "LOG_LEVEL",
    ]
    assert found[2] == "XERO_PROXY_RETRY_ATTEMPTS must be a whole number from 1 to 100"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("XERO_PROXY_TENANT_LABLE", "XERO_PROXY_TENANT_LABEL"),
        ("XERO_PROXY_MAX_WAIT", "XERO_PROXY_MAX_WAIT_SECONDS"),
        ("xero_proxy_listen", "XERO_PROXY_LISTEN"),
        ("XERO_PROXY_LISTEN_FILE", "XERO_PROXY_LISTEN"),
        ("XERO_PROXY_ADMIN_TOKEN_FLIE", "XERO_PROXY_ADMIN_TOKEN_FILE"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(name: str, nearest: str) -> None:
    with pytest.raises(BadSettings, match=rf"^{name} is no setting.*; did you mean {nearest}\?$"):
        read_settings({name: "x"})


@pytest.mark.parametrize("name", ["DEBUG", "HTTP_PROXY", "REDIS_PASSWORD", "SENTRY_DSN", "VERSION", "X", ""])
def test_a_name_that_is_like_none_is_not_taken_for_another(name: str) -> None:
    assert problems(**{name: "x"}) == [f"XERO_PROXY_{name} is no setting, and no setting has a name like it"]


@pytest.mark.parametrize(
    "name", ["PORT", "PORT_8080_TCP_ADDR", "SERVICE_HOST", "SERVICE_PORT_HTTP", "ADMIN_PORT"]
)
def test_what_kubernetes_sets_for_a_service_is_refused_with_the_remedy(name: str) -> None:
    assert "`enableServiceLinks` is false" in problems(**{name: "tcp://10.0.0.1:8080"})[0]


@pytest.mark.parametrize("name", sorted(DEFAULTS.keys() - MAY_BE_EMPTY))
def test_an_empty_value_is_a_problem_where_the_default_is_not_empty(name: str) -> None:
    assert problems(**{name: ""})[0].startswith(f"XERO_PROXY_{name} must be ")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("LISTEN", "127.0.0.1"),
        ("LISTEN", ":8080"),
        ("LISTEN", "::1:8080"),
        ("LISTEN", "[::1%eth0]:8080"),
        ("LISTEN", "[localhost]:8080"),
        ("LISTEN", "127.0.0.1:65536"),
        ("LISTEN", "127.0.0.1:-1"),
        ("LISTEN", "127.0.0.1:\u0668"),
        ("UPSTREAM", "api.xero.com"),
        ("UPSTREAM", "ftp://api.xero.com"),
        ("UPSTREAM", "https://api.xero.com:0"),
        ("UPSTREAM", "https://api.xero.com/api.xro"),
        ("UPSTREAM", "https://api.xero.com?x=1"),
        ("UPSTREAM", "https://api.xero.com#x"),
        ("UPSTREAM", "https://user:pw@api.xero.com"),
        ("UPSTREAM", "https://api.xero.com\r\n"),
        ("UPSTREAM", "https://"),
        ("TENANT_MINUTE_LIMIT", "0"),
        ("TENANT_MINUTE_LIMIT", "-1"),
        ("TENANT_MINUTE_LIMIT", "6_0"),
        ("TENANT_MINUTE_LIMIT", " 60"),
        ("UPSTREAM", "https://api..xero.com"),
        ("UPSTREAM", f"https://{'a' * 64}.com"),
        ("TENANT_MINUTE_LIMIT", "60.5"),
        ("TENANT_MINUTE_LIMIT", "\u0666\u0660"),
        ("TENANT_MINUTE_LIMIT", "9" * 5000),
        ("MAX_WAIT_SECONDS", "0"),
        ("MAX_WAIT_SECONDS", "nan"),
        ("MAX_WAIT_SECONDS", "inf"),
        ("MAX_WAIT_SECONDS", "1e2"),
        ("RETRY_BUDGET", "1.1"),
        ("RETRY_BUDGET", "-0.1"),
        ("IDEMPOTENCY", "maybe"),
        ("ALLOWED_HOSTS", "proxy.example.org:8080"),
        ("ALLOWED_HOSTS", "http://proxy.example.org"),
        ("ALLOWED_HOSTS", "*.example.org"),
        ("ALLOWED_HOSTS", "a.example,,b.example"),
        ("ALLOWED_HOSTS", "."),
        ("TENANT_LABEL", "name"),
        ("SPOOL_DIR", "/nowhere/at/all"),
        ("SPOOL_MAX_BYTES", "2GiB"),
        ("SPOOL_DIR", "\0"),
        ("TLS_CERT_FILE", "/nowhere/at/all"),
        ("LISTEN", "unix:"),
        ("LISTEN", "unix:relative.sock"),
        ("LISTEN", "unix:/nowhere/at/all.sock"),
        ("ADMIN_LISTEN", "unix:/tmp/" + "x" * 100),
        ("TLS_KEY_FILE", "/usr"),
        ("STATE_FILE", "\0"),
        ("STATE_FILE", "/nowhere/at/all"),
        ("STATE_FILE", "/usr"),
        ("STATE_FILE", "x" * 300),
        ("REDIS_URL", "http://redis"),
        ("UPSTREAM_PROXY", "https://proxy:3128"),
        ("UPSTREAM_PROXY", "proxy:3128"),
        ("UPSTREAM_PROXY", "http://user:pw@"),
        ("UPSTREAM_PROXY", "http://user:pw@proxy:0"),
        ("UPSTREAM_PROXY", "http://user:pw@proxy/path"),
        ("UPSTREAM_PROXY", "http://user:pw@proxy?x"),
        ("UPSTREAM_PROXY", "http://user:pw@proxy#x"),
        ("UPSTREAM_PROXY", "http://user:pw%@proxy"),
        ("UPSTREAM_PROXY", "http://user:pw%zz@proxy"),
        ("UPSTREAM_PROXY", "http://user:pw%ff@proxy"),
        ("UPSTREAM_PROXY", "http://user:pw%0a@proxy"),
        ("UPSTREAM_PROXY", "http://us%3Aer:pw@proxy"),
        ("UPSTREAM_CA_FILE", "/nowhere/at/all"),
        ("REDIS_PREFIX", ""),
        ("REDIS_PREFIX", "a{b}"),
        ("REDIS_APP_ID", "a" * 65),
        ("REDIS_TIMEOUT_SECONDS", "0.01"),
        ("ADMIN_TOKEN", "two words"),
        ("ADMIN_TOKEN", "line\n"),
    ],
)
def test_a_value_out_of_its_range_is_refused_without_being_quoted(name: str, text: str) -> None:
    (found,) = problems(**{name: text})
    assert found.startswith(f"XERO_PROXY_{name} must be ")
    assert "user:pw" not in found
    assert "two words" not in found


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({"ADMIN_LISTEN": "127.0.0.1:8080"}, ["ADMIN_LISTEN", "LISTEN"]),
        ({"LISTEN": "0.0.0.0:9090"}, ["ADMIN_LISTEN", "LISTEN"]),
        ({"RETRY_BACKOFF_SECONDS": "31"}, ["RETRY_BACKOFF_SECONDS", "RETRY_BACKOFF_MAX_SECONDS"]),
        ({"UPSTREAM_TIMEOUT_SECONDS": "9"}, ["CONNECT_TIMEOUT_SECONDS", "UPSTREAM_TIMEOUT_SECONDS"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_together(
    values: dict[str, str], names: list[str]
) -> None:
    (found,) = problems(**values)
    assert re.findall(r"XERO_PROXY_([A-Z_]+)", found) == names


def test_a_contradiction_with_a_bad_value_is_not_guessed() -> None:
    (found,) = problems(RETRY_BACKOFF_SECONDS="31", RETRY_BACKOFF_MAX_SECONDS="x")
    assert found.startswith("XERO_PROXY_RETRY_BACKOFF_MAX_SECONDS must be ")


@pytest.mark.parametrize(
    ("listen", "admin"),
    [("127.0.0.1:0", "127.0.0.1:0"), ("0.0.0.0:8080", "127.0.0.1:9090"), ("127.0.0.1:80", "127.0.0.2:80")],
)
def test_two_different_sockets_are_fine(listen: str, admin: str) -> None:
    assert read(LISTEN=listen, ADMIN_LISTEN=admin).admin_listen != Address("", 0)


def test_a_writable_directory_is_a_place_for_bodies(tmp_path: Path) -> None:
    assert read(SPOOL_DIR=str(tmp_path)).spool_dir == str(tmp_path)


junk = (
    st.text(max_size=40)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.from_regex(r"\A\[?[0-9:.]+\]?:\d+\Z")
)


@given(st.sampled_from(sorted(DEFAULTS)), junk)
def test_any_value_is_read_or_refused_by_the_variables_name(name: str, text: str) -> None:
    settings, found = attempt({name: text})
    assert all(f"XERO_PROXY_{name}" in problem for problem in found)
    assert (settings is None) is bool(found)


@given(st.sampled_from([*sorted(DEFAULTS), "ADMIN_TOKEN_FILE", "REDIS_URL_FILE"]), junk, junk)
def test_no_message_holds_a_value(name: str, before: str, after: str) -> None:
    settings, found = attempt({name: before + CANARY + after})
    assert CANARY not in f"{BadSettings(found)} {BadSettings(found)!r}"
    if settings is not None and name == "ADMIN_TOKEN":
        assert CANARY not in f"{settings!r} {effective(settings)}"


@given(
    st.sampled_from(sorted(DEFAULTS)).filter(lambda name: "_SECONDS" in name or "_LIMIT" in name), st.data()
)
def test_what_is_shown_can_be_read_again(name: str, data: st.DataObject) -> None:
    text = str(data.draw(st.integers(1, 500)))
    settings, found = attempt({name: text})
    assert found or read_settings(dict(effective(settings or Settings()))) == settings
