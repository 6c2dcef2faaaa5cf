"""Clients that misbehave: each gets what it deserves, and nobody else notices."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from safetyclf import Classifier
from server_helpers import Running

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import _load

Serve = Callable[..., Running]
# The address sanitizer keeps what was freed for a while.
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
POST = b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\n"


def gauge(server: Running, name: str) -> float:
    found = re.search(rf"^safetyclf_{name} (\S+)$", server.get("/metrics").text, re.MULTILINE)
    assert found
    return float(found[1])


def read_all(connection: socket.socket, seconds: float = 20) -> bytes:
    """What comes until the other side closes."""
    connection.settimeout(seconds)
    data = b""
    try:
        while part := connection.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


@pytest.fixture(scope="module")
def server(tiny_path: Path) -> Iterator[Running]:
    """Impatient, for these tests."""
    running = Running(
        "--model", str(tiny_path), "--read-timeout", "1", "--max-connections", "2500", "--drain", "0"
    )
    running.wait_ready()
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def _unharmed(server: Running) -> Iterator[None]:
    yield
    assert server.moderate("good dog").status_code == 200
    end = time.monotonic() + 10
    while gauge(server, "requests_in_progress") > 1:  # the one that asks
        assert time.monotonic() < end


@pytest.fixture
def connection(server: Running) -> Iterator[socket.socket]:
    with closing(socket.create_connection(server.address)) as made:
        yield made


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\nnonsense\r\n\r\n",
        POST + b"content-length: -5\r\n\r\n",
        POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_what_is_no_http_ends_the_connection(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    assert not read_all(connection).startswith(b"HTTP/1.1 200")


def test_a_head_that_comes_slowly(connection: socket.socket) -> None:
    begin = time.monotonic()
    connection.sendall(POST)
    for _ in range(20):
        time.sleep(0.2)
        try:
            connection.sendall(b"x-more: 1\r\n")
        except (BrokenPipeError, ConnectionResetError):
            break
    assert time.monotonic() - begin < 3.5
    assert read_all(connection)[:12] in (b"HTTP/1.1 408", b"")


def test_a_client_that_says_nothing(connection: socket.socket) -> None:
    begin = time.monotonic()
    assert read_all(connection) == b""
    assert 0.5 < time.monotonic() - begin < 5


def test_a_body_that_comes_slowly(connection: socket.socket) -> None:
    begin = time.monotonic()
    connection.sendall(POST + b"content-length: 100\r\n\r\n{")
    for _ in range(4):
        time.sleep(0.2)
        connection.sendall(b" ")
    answer = read_all(connection)
    assert time.monotonic() - begin < 5
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"message"' in answer


def test_a_head_without_end(connection: socket.socket) -> None:
    connection.sendall(b"GET /health HTTP/1.1\r\n")
    try:
        for _ in range(100):
            connection.sendall(b"x-filler: " + b"y" * 4000 + b"\r\n")
            time.sleep(0.001)
    except (BrokenPipeError, ConnectionResetError):
        return
    assert read_all(connection).startswith(b"HTTP/1.1 431")


def test_fifty_megabytes_are_refused_in_words(server: Running) -> None:
    before = memory(server.process.pid)
    for _ in range(3):
        answer = server.moderate("x" * 50_000_000)
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"
        assert answer.headers["x-should-retry"] == "false"
    assert SANITIZED or memory(server.process.pid) - before < 30_000_000


def test_fifty_megabytes_in_chunks(connection: socket.socket) -> None:
    connection.sendall(POST + b"transfer-encoding: chunked\r\n\r\n")
    chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
    for _ in range(50):
        connection.sendall(chunk)
    connection.sendall(b"0\r\n\r\n")
    assert read_all(connection).startswith(b"HTTP/1.1 413")


def test_a_client_that_leaves_in_the_middle_of_its_body(server: Running, connection: socket.socket) -> None:
    connection.sendall(POST + b"content-length: 100\r\n\r\n{")
    time.sleep(0.2)
    connection.close()
    end = time.monotonic() + 10
    while 'route="moderations",status="499"' not in server.get("/metrics").text:
        assert time.monotonic() < end
    assert not [entry for entry in server.log if entry["level"] == "error"]


def test_a_client_that_asks_first_is_told_at_once(connection: socket.socket) -> None:
    connection.sendall(POST + b"content-length: 50000000\r\nexpect: 100-continue\r\n\r\n")
    assert read_all(connection).startswith(b"HTTP/1.1 413")


def test_a_half_closed_connection_counts_as_gone(connection: socket.socket) -> None:
    connection.sendall(_load.request("good dog"))
    connection.shutdown(socket.SHUT_WR)
    # An answer that was under way may still come; nothing stays open.
    answer = read_all(connection, 5)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 200")


def test_a_thousand_connections(serve: Serve, tiny: Classifier, messages: list[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2000:
        pytest.skip("a process may not have so many files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2000), hard))
    patient = serve()
    patient.wait_ready()
    column = tiny.categories.index("harassment")
    requests = [
        (_load.request(text), _load.expectation([float(scores[column])], ["harassment"]))
        for text, scores in zip(messages, tiny.scores(messages), strict=True)
    ]
    outcome = asyncio.run(_load.drive(patient.address, requests, connections=1000, count=3000))
    assert (outcome.wrong, outcome.lost, outcome.refused) == (0, 0, 0)
    assert outcome.statuses == {200: 3000}


def test_more_connections_than_allowed_are_told_so(serve: Serve) -> None:
    small = serve("--max-connections", "3")
    small.wait_ready()
    kept = [socket.create_connection(small.address) for _ in range(3)]
    for connection in kept:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        connection.settimeout(10)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
    with closing(socket.create_connection(small.address)) as connection:
        assert read_all(connection).startswith(b"HTTP/1.1 503")
    kept.pop().close()
    time.sleep(0.3)
    assert small.get("/health").status_code == 200
    for connection in kept:
        connection.close()


def test_a_client_that_does_not_read_its_answer(serve: Serve) -> None:
    strict = serve("--keep-alive", "1", "--max-texts", "20000")
    strict.wait_ready()
    with closing(socket.socket()) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(strict.address)
        body = json.dumps({"input": ["x"] * 12_000}).encode()
        connection.sendall(POST + b"content-length: %d\r\n\r\n" % len(body) + body)
        while 'route="moderations",status="200"' not in strict.get("/metrics").text:
            time.sleep(0.1)
        time.sleep(3)
        answer = read_all(connection)
    announced = int(re.search(rb"content-length: (\d+)", answer)[1])  # type: ignore[index]
    assert len(answer) < announced


def test_memory_is_flat(serve: Serve) -> None:
    """The short form of `benchmarks/serve.py memory`."""
    server = serve()
    [worker] = server.wait_ready()
    requests = [(_load.request(f"the angry dog number {i}"), b"flagged") for i in range(1000)]

    def ask(count: int) -> int:
        outcome = asyncio.run(_load.drive(server.address, requests, connections=32, count=count))
        assert (outcome.wrong, outcome.lost) == (0, 0)
        return memory(worker)

    warm = ask(4000)
    assert SANITIZED or ask(6000) - warm < 2_000_000


def long_request(words: int) -> bytes:
    return _load.request("the angry dog loves music " * words)


def test_a_client_that_is_gone_costs_nothing_more(serve: Serve) -> None:
    """Long texts are dropped, in the queue and in the model, when nobody waits for them."""
    busy = serve("--queue", "100", "--max-texts", "10")
    busy.wait_ready()
    data = long_request(30_000)  # 750 KB: some seconds of work each
    begin = time.monotonic()
    connections = [socket.create_connection(busy.address) for _ in range(20)]
    for connection in connections:
        connection.sendall(data)
    while gauge(busy, "queue_requests") < 10:
        assert time.monotonic() - begin < 20
    for connection in connections:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    begin = time.monotonic()
    while gauge(busy, "queue_requests") > 0 or gauge(busy, "requests_in_progress") > 1:
        assert time.monotonic() - begin < 10
        time.sleep(0.05)
    assert 'status="499"' in busy.get("/metrics").text


def test_a_full_queue_is_a_429_with_a_time(serve: Serve) -> None:
    busy = serve("--queue", "2")
    busy.wait_ready()
    connections = [socket.create_connection(busy.address) for _ in range(8)]
    for connection in connections:
        connection.sendall(long_request(8_000))
    answers = []
    for connection in connections:
        connection.settimeout(60)
        answers.append(connection.recv(65536))
        connection.close()
    refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 429")]
    assert refused
    assert len(refused) < 8
    head, _, body = refused[0].partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert (error["type"], error["code"]) == ("tokens", "rate_limit_exceeded")
    assert int(re.search(rb"\r\nretry-after: (\d+)\r\n", head)[1]) >= 1  # type: ignore[index]
    assert re.search(rb"\r\nretry-after-ms: (\d+)\r\n", head)
    assert b"\r\nx-should-retry: true\r\n" in head


def test_a_long_text_does_not_hold_up_short_ones(server: Running) -> None:
    with closing(socket.create_connection(server.address)) as connection:
        connection.sendall(long_request(30_000))
        time.sleep(0.1)
        begin = time.monotonic()
        assert server.moderate("good dog").status_code == 200
        short = time.monotonic() - begin
        connection.settimeout(60)
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        assert short < (time.monotonic() - begin) / 2


def memory(pid: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
