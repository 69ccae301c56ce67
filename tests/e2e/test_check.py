"""`xero-proxy check` as an operator runs it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.e2e.harness import xero
from tests.e2e.test_process import run
from tests.servers import valkey_server


async def checked(**settings: object) -> tuple[int, list[str], list[str]]:
    """Exit code of `check --connect`, what it says of connections, and what it complains of."""
    async with run("check", "--connect", **settings) as process:
        code, out, err = await process.ends()
    return code, [line for line in out.splitlines() if ": " in line], err.splitlines()


async def test_everybody_that_can_be_reached_is_named_and_the_end_is_0() -> None:
    with valkey_server() as server:
        async with xero() as simulator:
            settings = {"upstream": simulator.url, "identity_upstream": simulator.url}
            code, reached, complaints = await checked(**settings, redis_url=server.url)
    assert (code, complaints) == (0, [])
    assert reached == [
        f"XERO_PROXY_UPSTREAM: reached {simulator.url}",
        f"XERO_PROXY_IDENTITY_UPSTREAM: reached {simulator.url}",
        f"XERO_PROXY_REDIS_URL: reached {server.url}",
    ]


async def test_whoever_cannot_be_reached_is_named_with_the_reason_and_the_end_is_1() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with xero() as simulator:
            code, reached, complaints = await checked(
                upstream=simulator.url,
                identity_upstream=f"http://127.0.0.1:{port}",
                redis_url=f"redis://:c4n4ry@127.0.0.1:{port}",
            )
    assert code == 1
    assert reached == [f"XERO_PROXY_UPSTREAM: reached {simulator.url}"]
    identity, redis = complaints
    assert identity == (
        f"XERO_PROXY_IDENTITY_UPSTREAM: No connection to 127.0.0.1:{port}: connection refused."
    )
    assert redis.startswith(f"XERO_PROXY_REDIS_URL: Error 111 connecting to 127.0.0.1:{port}.")
    assert "c4n4ry" not in "".join((*reached, *complaints))


async def test_a_password_that_is_wrong_is_a_reason_and_not_told() -> None:
    with valkey_server() as server:
        server.do("CONFIG", "SET", "requirepass", "right")
        async with xero() as simulator:
            url = server.url.replace("redis://", "redis://:c4n4ry@")
            settings = {"upstream": simulator.url, "identity_upstream": simulator.url}
            code, _, (complaint,) = await checked(**settings, redis_url=url)
    assert code == 1
    assert complaint.startswith("XERO_PROXY_REDIS_URL: ")
    assert "c4n4ry" not in complaint


async def test_bad_settings_are_named_before_anybody_is_asked_and_end_with_2() -> None:
    async with run("check", "--connect", queue_limit="many") as process:
        code, _, err = await process.ends()
    assert (code, "XERO_PROXY_QUEUE_LIMIT" in err) == (2, True)


async def test_dangerous_settings_are_warned_of_beside_the_settings_and_are_no_failure() -> None:
    async with run("check", upstream="http://api.example.com", listen="0.0.0.0:0") as process:
        code, out, err = await process.ends()
    assert code == 0
    assert "warning" not in out
    first, second = err.splitlines()
    assert first.startswith("warning: XERO_PROXY_UPSTREAM is http")
    assert second.startswith("warning: XERO_PROXY_LISTEN opens the port")


async def test_serve_logs_the_same_warnings_at_its_start() -> None:
    async with run("serve", listen="0.0.0.0:0", admin_token="short") as process:
        first, second = await process.line("dangerous_setting"), await process.line("dangerous_setting")
        await process.line("listening")
    assert (first["level"], first["detail"].split()[0]) == ("warning", "XERO_PROXY_LISTEN")
    assert (second["level"], second["detail"].split()[0]) == ("warning", "XERO_PROXY_ADMIN_TOKEN")


@pytest.mark.parametrize("command", ["check", "serve"])
async def test_authorities_that_cannot_be_used_are_named_and_the_end_is_2(
    command: str, tmp_path: Path
) -> None:
    nothing = tmp_path / "ca.pem"
    nothing.write_text("c4n4ry")
    settings = {"upstream_ca_file": nothing, "listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
    async with run(command, **settings) as process:
        code, out, err = await process.ends()
    assert code == 2
    assert "XERO_PROXY_UPSTREAM_CA_FILE: the authorities of Xero cannot be used" in out + err
    assert "c4n4ry" not in (out + err).replace(str(nothing), "")
