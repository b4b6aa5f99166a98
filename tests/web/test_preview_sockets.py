"""Websockets of previews: messages, subprotocols, closing, and refusals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from browsing import TIMEOUT, Browser, head, message, program, until_linked
from promises.uncontained import Uncontained, uncontained
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol
from websockets.utils import accept_key


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    async with uncontained(tmp_path_factory.mktemp("sockets"), preview_timeout=2) as server:
        await until_linked(server)
        yield server


@pytest.fixture
async def ada(site: Uncontained) -> AsyncIterator[Browser]:
    browser = Browser(site, site.api)
    yield browser
    await browser.close()


def port_of(server: Server) -> int:
    return next(iter(server.sockets)).getsockname()[1]


async def echo(socket: ServerConnection) -> None:
    async for each in socket:
        if each == "bye":
            await socket.close(4321, "as you wish")
            return
        await socket.send(each)


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(TIMEOUT):
        await socket.wait_closed()
    return socket.close_code, socket.close_reason


async def test_messages_of_both_kinds_and_any_size(ada: Browser) -> None:
    async with serve(echo, "127.0.0.1", 0, max_size=None, compression=None) as server:
        port = port_of(server)
        await ada.enter(port)
        async with ada.socket(port, max_size=None) as socket:
            for each in ("", "text \u20ac", b"", b"\0\xff", "x" * 70_000, b"y" * 3_000_000):
                await socket.send(each)
                assert await message(socket) == each
            await socket.send(["in ", "several ", "frames"])
            assert await message(socket) == "in several frames"
            async with asyncio.timeout(TIMEOUT):
                await (await socket.ping())


async def test_large_messages_both_ways_at_once(ada: Browser) -> None:
    async def pour(socket: ServerConnection) -> None:
        async def out() -> None:
            for _ in range(50):
                await socket.send(b"d" * 300_000)

        sending = asyncio.create_task(out())
        for _ in range(50):
            assert await socket.recv() == b"u" * 300_000
            await socket.ping()
        await sending
        await socket.close(1000)

    async with serve(pour, "127.0.0.1", 0, compression=None) as server:
        port = port_of(server)
        await ada.enter(port)
        async with ada.socket(port) as socket:

            async def up() -> None:
                for _ in range(50):
                    await socket.send(b"u" * 300_000)

            sending = asyncio.create_task(up())
            for _ in range(50):
                assert await message(socket) == b"d" * 300_000
            await sending
            assert (await closed(socket))[0] == 1000


async def test_the_programs_choice_of_subprotocol_and_its_request(ada: Browser) -> None:
    seen: list[Request] = []

    async def look(socket: ServerConnection) -> None:
        assert socket.request is not None
        seen.append(socket.request)
        await echo(socket)

    choice = Subprotocol("vite-hmr")
    async with serve(look, "127.0.0.1", 0, subprotocols=[choice]) as server:
        port = port_of(server)
        await ada.enter(port)
        headers = {"Cookie": f"{ada.cookies(port)}; theirs=1; cloudide=stolen"}
        offered = [Subprotocol("other"), choice]
        async with ada.socket(
            port, "/hot?token=1", subprotocols=offered, additional_headers=headers
        ) as socket:
            assert socket.subprotocol == "vite-hmr"
            await socket.send("x")
            assert await message(socket) == "x"
    request = seen[0]
    assert request.path == "/hot?token=1"
    assert request.headers["Host"] == ada.host(port)
    assert request.headers["Origin"] == ada.url(port, "")
    assert request.headers["Cookie"] == "theirs=1"
    assert "Sec-WebSocket-Extensions" not in request.headers


async def test_what_comes_right_behind_the_handshake_is_the_first_message(ada: Browser) -> None:
    first = b"f" * 150_000

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        key = {name.lower(): value for name, value in (await head(reader))[1]}["sec-websocket-key"]
        answer = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n"
        )
        writer.write(answer.encode() + Frame(Opcode.BINARY, first).serialize(mask=False))
        await reader.read()

    async with program(serve) as port:
        await ada.enter(port)
        async with ada.socket(port) as socket:
            assert await message(socket) == first


async def test_close_codes_go_both_ways(ada: Browser) -> None:
    heard: asyncio.Future[tuple[int | None, str | None]] = (
        asyncio.get_running_loop().create_future()
    )

    async def wait(socket: ServerConnection) -> None:
        try:
            await echo(socket)
        except ConnectionClosedError:
            heard.set_result((socket.close_code, socket.close_reason))

    async with serve(wait, "127.0.0.1", 0) as server:
        port = port_of(server)
        await ada.enter(port)
        async with ada.socket(port) as socket:
            await socket.close(4555, "enough")
        assert await asyncio.wait_for(heard, TIMEOUT) == (4555, "enough")
        async with ada.socket(port) as socket:
            await socket.send("bye")
            assert await closed(socket) == (4321, "as you wish")


async def test_a_program_that_dies_closes_the_socket(ada: Browser) -> None:
    async def die(socket: ServerConnection) -> None:
        socket.transport.abort()

    async with serve(die, "127.0.0.1", 0) as server:
        port = port_of(server)
        await ada.enter(port)
        async with ada.socket(port) as socket:
            assert (await closed(socket))[0] == CloseCode.INTERNAL_ERROR


async def test_a_browser_that_vanishes_ends_the_programs_socket(ada: Browser) -> None:
    ended = asyncio.Event()

    async def wait(socket: ServerConnection) -> None:
        await socket.send("here")
        await socket.wait_closed()
        ended.set()

    async with serve(wait, "127.0.0.1", 0) as server:
        port = port_of(server)
        await ada.enter(port)
        socket = await ada.socket(port)
        assert await message(socket) == "here"
        socket.transport.abort()
        async with asyncio.timeout(TIMEOUT):
            await ended.wait()


async def test_a_refusal_of_the_program_is_its_own(ada: Browser) -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response:
        return connection.respond(418, "no\n")  # pyright: ignore[reportArgumentType]

    async with serve(echo, "127.0.0.1", 0, process_request=refuse) as server:
        port = port_of(server)
        await ada.enter(port)
        with pytest.raises(InvalidStatus) as refused:
            await ada.socket(port)
        assert refused.value.response.status_code == 418


async def test_nobody_else_gets_in(ada: Browser) -> None:
    async with serve(echo, "127.0.0.1", 0) as server:
        port = port_of(server)
        with pytest.raises(InvalidStatus) as refused:
            await ada.socket(port)
        assert refused.value.response.status_code == 401
        await ada.enter(port)
        for origin in (
            "http://evil.example",
            "null",
            ada.server.url,
            ada.url(port, "", "w1"),
            f"http://{port}--w0.preview.localhost",
        ):
            with pytest.raises(InvalidStatus) as refused:
                await ada.socket(port, origin=origin)
            assert refused.value.response.status_code == 403, origin
        for origin in (ada.url(port, ""), ada.url(5173, "")):
            async with ada.socket(port, origin=origin) as socket:
                await socket.send("sibling")
                assert await message(socket) == "sibling"
    with pytest.raises(InvalidStatus) as refused:
        await ada.socket(port)
    assert refused.value.response.status_code == 502
