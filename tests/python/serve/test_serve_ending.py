"""How a server lets go of its connections, with server and client in one event loop."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from safetyclf.serve.app import Application
from safetyclf.serve.door import Door
from safetyclf.serve.protocol import Connection
from safetyclf.serve.settings import Settings
from safetyclf.serve.state import State
from uvicorn import Config, Server

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "benchmarks"))
import _load

POST = _load.request("good dog")
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Ending:
    """A server that runs, and then ends."""

    def __init__(self, tiny_path: Path, folder: Path) -> None:
        self.door = Door("127.0.0.1", 0, None)
        self.state = State(Settings(model=str(tiny_path)), str(folder), self.door)
        config = Config(Application(self.state), http=Connection, ws="none", lifespan="on", log_config=None)
        self.server = Server(config)

    async def connect(self) -> Client:
        return await asyncio.open_connection(*self.door.listener.getsockname())

    async def end(self) -> None:
        """Returns right after the server has told its connections."""
        self.state.draining = self.server.should_exit = True
        while self.door.listener.fileno() >= 0:
            await asyncio.sleep(0)


def run(tiny_path: Path, folder: Path, test: Callable[[Ending], Awaitable[None]]) -> None:
    async def both() -> None:
        ending = Ending(tiny_path, folder)
        async with _running(ending):
            await asyncio.wait_for(test(ending), 60)

    asyncio.run(both())


@asynccontextmanager
async def _running(ending: Ending) -> AsyncIterator[None]:
    serving = asyncio.create_task(ending.server._serve([ending.door.listener]))
    while not ending.server.started:
        await asyncio.sleep(0.01)
    yield
    ending.server.should_exit = True
    await asyncio.wait_for(serving, 60)


async def answer(client: Client) -> bytes:
    """One answer of HTTP."""
    head = await client[0].readuntil(b"\r\n\r\n")
    size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await client[0].readexactly(size)


@pytest.mark.parametrize("asked_before", [False, True])
def test_a_last_request_is_answered(tiny_path: Path, tmp_path: Path, asked_before: bool) -> None:
    async def test(ending: Ending) -> None:
        client = await ending.connect()
        if asked_before:
            client[1].write(POST)
            assert b"connection: close" not in await answer(client)
        await ending.end()
        client[1].write(POST)
        last = await answer(client)
        assert last.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in last
        assert await client[0].read() == b""
        client[1].close()

    run(tiny_path, tmp_path, test)


def test_a_last_request_may_come_in_parts(tiny_path: Path, tmp_path: Path) -> None:
    async def test(ending: Ending) -> None:
        clients = [await ending.connect() for _ in range(2)]
        cuts = (10, len(POST) - 5)  # in the head, and in the body
        for client, cut in zip(clients, cuts, strict=True):
            client[1].write(POST[:cut])
        await asyncio.sleep(0.2)
        await ending.end()
        await asyncio.sleep(1.5)
        for client, cut in zip(clients, cuts, strict=True):
            client[1].write(POST[cut:])
            assert b"connection: close" in await answer(client)
            assert await client[0].read() == b""
            client[1].close()

    run(tiny_path, tmp_path, test)


def test_what_is_not_ours_closes_too(tiny_path: Path, tmp_path: Path) -> None:
    async def test(ending: Ending) -> None:
        client = await ending.connect()
        await ending.end()
        client[1].write(b"GET /nowhere HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await answer(client)).startswith(b"HTTP/1.1 404")
        assert await client[0].read() == b""
        client[1].close()

    run(tiny_path, tmp_path, test)


@pytest.mark.parametrize("hurried", [False, True])
def test_who_asks_nothing_is_let_go(tiny_path: Path, tmp_path: Path, hurried: bool) -> None:
    async def test(ending: Ending) -> None:
        client = await ending.connect()
        await asyncio.sleep(0.2)
        ending.state.hurried = hurried
        await ending.end()
        begin = asyncio.get_running_loop().time()
        assert await client[0].read() == b""
        waited = asyncio.get_running_loop().time() - begin
        assert waited < 20 if hurried else 0.9 < waited < 20
        client[1].close()

    run(tiny_path, tmp_path, test)


def test_what_has_come_but_was_not_read_is_answered(tiny_path: Path, tmp_path: Path) -> None:
    async def test(ending: Ending) -> None:
        client = await ending.connect()
        await asyncio.sleep(0.2)
        [connection] = ending.server.server_state.connections
        connection.transport.pause_reading()
        client[1].write(POST)
        ending.state.hurried = True
        await ending.end()
        await asyncio.sleep(0.5)
        connection.transport.resume_reading()
        assert (await answer(client)).startswith(b"HTTP/1.1 200")
        client[1].close()

    run(tiny_path, tmp_path, test)


def test_a_shut_door_keeps_who_is_in(tiny_path: Path, tmp_path: Path) -> None:
    door = Door("127.0.0.1", 0, None)
    address = door.listener.getsockname()
    with door.listener, socket.create_connection(address) as inside, socket.socket() as outside:
        door.shut()
        outside.settimeout(0.3)
        with pytest.raises(TimeoutError):
            outside.connect(address)
        accepted, _ = door.listener.accept()
        with accepted:
            inside.sendall(b"still here")
            assert accepted.recv(100) == b"still here"


def test_only_the_whole_server_shuts_the_door(tmp_path: Path) -> None:
    alone, door = Door("127.0.0.1", 0, None), Door("127.0.0.1", 0, tmp_path / "closing")
    door._parent = os.getppid()  # as a worker sees it
    with alone.listener, door.listener:
        assert alone.closes
        assert not door.closes
        door.say_closing()
        assert door.closes
