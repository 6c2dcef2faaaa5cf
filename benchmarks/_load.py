"""Load for `serve.py` and the server's fault tests: requests that carry the verdict they expect.

Run as a program, it is the second process of a benchmark: a JSON object of options on standard input, one of
results on standard output.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_PATIENCE = 30.0  # seconds for an answer


@dataclass
class Outcome:
    """What became of a load."""

    seconds: list[float] = field(default_factory=list)  # of each request that was answered
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: int = 0  # answers with another verdict than expected
    lost: int = 0  # requests sent completely, and the connection ended without an answer
    refused: int = 0  # connections that could not be made
    took: float = 0

    def json(self) -> dict[str, Any]:
        """For standard output."""
        ordered = sorted(self.seconds)

        def at(share: float) -> float:
            return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0

        return {
            "requests": len(ordered),
            "took": self.took,
            "rate": len(ordered) / self.took if self.took else 0.0,
            "p10": at(0.1),
            "p50": at(0.5),
            "p90": at(0.9),
            "p99": at(0.99),
            "statuses": dict(self.statuses),
            "wrong": self.wrong,
            "lost": self.lost,
            "refused": self.refused,
        }


def request(text: str, key: str | None = None) -> bytes:
    """A complete HTTP request that asks about one text."""
    body = json.dumps({"model": "omni-moderation-latest", "input": text}).encode()
    authorization = f"authorization: Bearer {key}\r\n" if key else ""
    head = (
        "POST /v1/moderations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        f"{authorization}content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Client(asyncio.Protocol):
    """One connection: sends a request, waits for its answer. With `loop_over`, all by itself."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.closing = False  # the server said that it will close
        self._data = b""
        self._size = -1

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(ConnectionResetError())

    def ask(self, data: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """The status and the body, or ConnectionResetError."""
        self.answer = asyncio.get_running_loop().create_future()
        self._data, self._size = b"", -1
        if self.closing:
            self.answer.set_exception(ConnectionResetError())
        else:
            self.transport.write(data)
        return self.answer

    def data_received(self, data: bytes) -> None:
        self._data += data
        if self._size < 0:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end].lower()
            at = head.find(b"content-length: ") + 16
            self._body = end + 4
            self._size = self._body + int(head[at:].split(b"\r", 1)[0])
            if b"\r\nconnection: close" in head:
                self.closing = True
        if len(self._data) >= self._size and self.answer is not None and not self.answer.done():
            self.answer.set_result((int(self._data[9:12]), self._data[self._body :]))


async def drive(
    address: tuple[str, int],
    requests: Sequence[tuple[bytes, bytes]],
    *,
    connections: int,
    seconds: float | None = None,
    count: int | None = None,
    rate: float | None = None,
) -> Outcome:
    """Sends requests in turn over so many connections, each the next after its answer.

    Args:
        address: host and port.
        requests: what to send, and what the answer's body has to hold.
        connections: how many.
        seconds: for so long, or
        count: so many requests.
        rate: requests a second in all, at even times; a request's time then counts from when it was due.
            None: as fast as answers come.
    """
    loop, outcome = asyncio.get_running_loop(), Outcome()
    begin = time.perf_counter()
    deadline = begin + seconds if seconds is not None else float("inf")
    numbers = iter(range(count if count is not None else sys.maxsize))

    async def one() -> None:
        client: _Client | None = None
        for number in numbers:
            due = time.perf_counter()
            if rate is not None:
                due = begin + number / rate
                if due > deadline:
                    break
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
            if time.perf_counter() > deadline:
                break
            if client is None or client.closing:
                try:
                    _, client = await loop.create_connection(_Client, *address)
                except OSError:
                    outcome.refused += 1
                    await asyncio.sleep(0.02)
                    continue
            data, expected = requests[number % len(requests)]
            try:
                status, body = await asyncio.wait_for(client.ask(data), _PATIENCE)
            except (ConnectionResetError, asyncio.TimeoutError):
                outcome.lost += 1
                client.transport.abort()
                client = None
                continue
            outcome.seconds.append(time.perf_counter() - due)
            outcome.statuses[status] += 1
            if status == 200 and expected not in body:
                outcome.wrong += 1
            if client.closing:
                client.transport.close()
        if client is not None:
            client.transport.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    outcome.took = time.perf_counter() - begin
    return outcome


def expectation(scores: Sequence[float], names: Sequence[str]) -> bytes:
    """What an answer's body has to hold: the scores of OpenAI's categories that the model has, bit by bit.

    Nine digits tell any two float32 values apart, and the server writes them so.
    """
    return b"".join(
        b'"%s":%s,' % (n.encode(), f"{s:.9g}".encode()) for n, s in zip(names, scores, strict=True)
    )


def main() -> None:
    """The second process."""
    import uvloop

    options = json.load(sys.stdin)
    requests = [(request(text), bytes.fromhex(expected)) for text, expected in options.pop("requests")]
    address = (options.pop("host"), options.pop("port"))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        cpu = time.process_time()
        outcome = runner.run(drive(address, requests, **options))
        print(json.dumps({**outcome.json(), "generator_cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
