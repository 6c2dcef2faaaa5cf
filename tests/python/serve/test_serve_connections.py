"""Connections over several requests, and the short cuts that most of these take."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import closing

from server_helpers import Running

Serve = Callable[..., Running]
POST = b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\n"


def read_all(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    connection.settimeout(20)
    data = b""
    while part := connection.recv(65536):
        data += part
    return data


def test_a_connection_in_use_stays_and_an_idle_one_ends(serve: Serve) -> None:
    brief = serve("--keep-alive", "1")
    brief.wait_ready()
    with closing(socket.create_connection(brief.address)) as connection:
        connection.settimeout(10)
        for _ in range(4):  # the timer of the first answer rings meanwhile
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(1000)
            assert answer.startswith(b"HTTP/1.1 200")
            time.sleep(0.4)
        begin = time.monotonic()
        assert read_all(connection) == b""
        assert time.monotonic() - begin < 5


def test_the_short_cut_answers_as_asgi_does(serve: Serve) -> None:
    # The layer for other origins stands between route and connection.
    servers = serve(), serve("--cors", "https://example.org")
    body = b'{"input": "good dog"}'
    request = POST + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    heads = []
    for one in servers:
        one.wait_ready()
        with closing(socket.create_connection(one.address)) as connection:
            connection.sendall(request)
            head, _, answer = read_all(connection).partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert int(headers.pop("content-length")) == len(answer)
        assert headers.pop("x-request-id")
        assert headers.pop("date")
        assert headers.pop("vary", "Origin") == "Origin"
        heads.append((status, headers))
    assert heads[0] == heads[1]
    assert heads[0][1] == {"content-type": "application/json", "connection": "close"}
