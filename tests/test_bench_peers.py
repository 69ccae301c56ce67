"""What `make bench` works out about other proxies, without starting one."""

from __future__ import annotations

import argparse
import json
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.core.answers.route import app_id
from tests.bench.peers import TENANTS, options, pace, streams, tables
from tests.bench.peers.process import Running, Stat, parse_stat, tree
from tests.bench.peers.proxies import ASYNCIO, DIRECT, ENVOY, NGINX, OURS, PROXIES, TEXTBOOK, placed
from tests.bench.peers.requests import BadAnswer, content_length, heads, token
from tests.bench.peers.tools import missing, version
from tests.bench.peers.upstream import BODY_BYTES, SMALL, Upstream, body

STAT = "42 (a (bad) name) S 7 42 42 0 -1 4194304 1 0 0 0 30 12 0 0 20 0 1 0 5 1 1 18446744073709551615"


def test_cpu_is_read_whatever_a_process_is_called() -> None:
    assert parse_stat(STAT) == Stat(pid=42, parent=7, ticks=42)


def test_a_process_is_counted_with_all_its_descendants_and_nobody_else() -> None:
    started, child, grandchild, other = Stat(5, 1, 0), Stat(6, 5, 0), Stat(7, 6, 0), Stat(8, 1, 0)
    assert tree(5, [grandchild, other, child, started]) == [started, child, grandchild]
    assert tree(9, [started]) == []


def test_what_is_measured_directly_costs_no_proxy_any_cpu() -> None:
    assert Running(0, 1, 0.0).cpu_seconds() == 0.0


def test_a_percentile_is_a_sample_that_so_many_do_not_exceed() -> None:
    samples = [float(number) for number in range(100, 0, -1)]
    assert pace.percentile(samples, 0.5) == 50.0
    assert pace.percentile(samples, 0.99) == 99.0
    assert pace.percentile([3.0], 0.99) == 3.0


def test_the_figures_of_a_proxy_are_medians_of_its_rounds() -> None:
    assert tables.medians({NGINX: [(1.0, 9.0), (5.0, 7.0), (3.0, 8.0)]}) == {NGINX: [3.0, 8.0]}


def test_ratios_are_to_peers_of_the_same_run_and_missing_where_they_are() -> None:
    samples = {NGINX: [(40_000.0, 20.0)], OURS: [(10_000.0, 60.0)]}
    assert tables.over(samples, OURS, NGINX, 0) == 0.25
    assert tables.over(samples, OURS, ENVOY, 1) is None
    row = tables.saturation(samples).splitlines()[-1]
    assert [cell.strip() for cell in row.split("|")[1:-1]] == [OURS, "10,000", "0.25", "60.0", "–", "–"]


def test_a_verdict_needs_both_who_are_compared() -> None:
    samples = {TEXTBOOK: [(1.0, 200.0)], OURS: [(1.0, 60.0)]}
    assert tables.cpu_verdict(samples).endswith("(is 0.30): holds")
    assert tables.cpu_verdict({OURS: [(1.0, 60.0)]}) == ""
    assert tables.latency_verdicts({OURS: [(1.0, 2.0)]}, [200]) == ""


def test_every_part_is_printed_with_what_it_requires() -> None:
    rounds = [(100.0, 200.0)]
    samples = {DIRECT: rounds, NGINX: rounds, ASYNCIO: rounds, OURS: [(230.0, 400.0)]}
    assert "2.30" in tables.latency(samples, [200])
    assert tables.latency_verdicts(samples, [200]).endswith("(is 2.30): DOES NOT HOLD")
    grown = {NGINX: 0.1, OURS: 12.0}
    assert "12.0" in tables.bulk({OURS: rounds}, ["1 MB down", "1 MB up"], grown)
    assert "growth in MiB at most 10 (is 12.00): DOES NOT HOLD" in tables.slow(grown)
    assert "exec to listening in ms at most 600 (is 230.00): holds" in tables.start(samples)


def test_a_request_names_one_of_many_organisations_and_an_app() -> None:
    requests = heads("POST", SMALL, body_bytes=7)
    assert len(set(requests)) == TENANTS
    assert requests[0].endswith(
        b"Xero-Tenant-Id: 00000000-0000-4000-8000-000000000001\r\nContent-Length: 7\r\n\r\n"
    )
    assert app_id(f"Bearer {token()}".encode()).startswith("BENCH")


def test_an_answer_that_is_no_success_ends_the_measurement() -> None:
    assert content_length(b"HTTP/1.1 200 OK\r\ncontent-length: 12") == 12
    with pytest.raises(BadAnswer, match="503"):
        content_length(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0")
    with pytest.raises(BadAnswer, match="Content-Length"):
        content_length(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked")


def test_the_upstream_answers_with_one_kilobyte_of_json() -> None:
    assert len(body()) == BODY_BYTES
    assert json.loads(body())["Status"] == "OK"


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("name", PROXIES)
def test_every_proxy_is_sent_to_the_upstream(name: str, tls: bool, tmp_path: Path) -> None:
    launch = placed(name, Upstream(plain=1234, tls=4321), tmp_path / "place", "python", tls=tls)
    written = [path.read_text("utf-8") for path in (tmp_path / "place").iterdir()]
    told = " ".join((*launch.command, *launch.environment.values(), *written))
    assert ("4321" if tls else "1234") in told
    assert ("1234" if tls else "4321") not in told
    assert str(launch.port) in told


def test_what_is_missing_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.peers.tools.find", lambda _name: None)
    assert missing("wrk") == "wrk is missing (apt-get install -y nginx haproxy wrk nodejs)"
    assert missing("envoy") == "envoy is missing (make bench-tools)"
    assert version("envoy") == "missing"


def test_proxies_and_parts_can_be_chosen() -> None:
    parser = argparse.ArgumentParser()
    options.add_flags(parser)
    plan = options.plan(parser.parse_args(["--only", "xero-proxy,nginx", "--parts", "small", "--quick"]))
    assert (plan.proxies, plan.parts, plan.rounds) == ([NGINX, OURS], ["small"], 1)
    assert options.plan(parser.parse_args([])).rounds == 5
    with pytest.raises(SystemExit):
        parser.parse_args(["--only", "squid"])


class Origin(socketserver.StreamRequestHandler):
    """Answers a POST when it has its body, and a GET with a file of the megabytes that its path names."""

    def handle(self) -> None:
        while (line := self.rfile.readline()) not in {b"", b"\r\n"}:
            method, path, _ = line.split(b" ")
            head = b"".join(iter(self.rfile.readline, b"\r\n"))
            if method == b"POST":
                self.rfile.read(content_length(b"HTTP/1.1 200 OK\r\n" + head))
            name = path.rpartition(b"/")[2]
            length = int(name) * streams.MEGABYTE if name.isdigit() else 1
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length + bytes(length))


class Server(socketserver.ThreadingTCPServer):
    request_queue_size = 2 * pace.CONNECTIONS


@pytest.fixture
def origin() -> Iterator[int]:
    with Server(("127.0.0.1", 0), Origin) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def test_load_at_a_fixed_rate_measures_every_request(origin: int) -> None:
    measured = pace.latencies(origin, heads("GET", SMALL), rate=2_000.0, count=60)
    assert len(measured) == 60
    assert min(measured) > 0.0


@pytest.mark.parametrize("direction", ["down", "up"])
def test_bodies_are_moved_both_ways(origin: int, direction: str) -> None:
    assert streams.moved(origin, streams.Load(direction, megabytes=1, streams=2, times=2)) > 0.0
