"""Previews through the real server and a real agent: HTTP in both directions."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from browsing import PAGE, TIMEOUT, Browser, answering, head, program, until_linked
from promises.uncontained import WORKSPACE, Uncontained, uncontained
from server import WAIT_SECONDS
from websockets.asyncio.client import ClientConnection

MIB = 1024 * 1024


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    directory = tmp_path_factory.mktemp("previews")
    async with uncontained(directory, preview_timeout=2, idle_minutes=0) as server:
        await until_linked(server)
        yield server


@pytest.fixture
async def ada(site: Uncontained) -> AsyncIterator[Browser]:
    browser = Browser(site, site.api)
    yield browser
    await browser.close()


async def test_a_program_sees_the_request_as_it_was_sent_and_nothing_of_ours(ada: Browser) -> None:
    seen: list[tuple[str, list[tuple[str, str]]]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await head(reader))
        writer.write(
            b"HTTP/1.1 418 Teapot\r\nContent-Length: 2\r\nX-Answer: yes\r\nConnection: X-Hop\r\n"
            b"X-Hop: 1\r\nSet-Cookie: a=b; Domain=preview.localhost; Path=/\r\nAlt-Svc: h2=evil\r\n"
            b"Set-Cookie: cloudide-preview=forged\r\nSet-Cookie: cloudide=forged\r\n\r\nhi"
        )

    async with program(serve) as port:
        assert (await ada.enter(port)).headers["location"] == "/"
        headers = {
            "X-Asked": "1",
            "X-Forwarded-For": "6.6.6.6",
            "Forwarded": "for=6.6.6.6",
            "Connection": "X-Secret",
            "X-Secret": "1",
            "Cookie": f"theirs=1; cloudide=stolen; {ada.cookies(port)}; other=2",
        }
        response = await ada.get(port, "/a%2Fb/%E2%82%AC?q=%20&r", headers=headers)
        assert (response.status_code, response.content) == (418, b"hi")
        assert response.headers["x-answer"] == "yes"
        assert "x-hop" not in response.headers
        assert "alt-svc" not in response.headers
        assert "content-security-policy" not in response.headers
        assert response.headers.get_list("set-cookie") == ["a=b; Path=/"]
        assert len(response.headers.get_list("date")) == 1
    line, received = seen[0]
    assert line == "GET /a%2Fb/%E2%82%AC?q=%20&r HTTP/1.1"
    given = {name.lower(): value for name, value in received}
    assert given["host"] == ada.host(port)
    assert given["x-asked"] == "1"
    assert given["cookie"] == "theirs=1; other=2"
    forwarded = [value for name, value in received if name.lower() == "x-forwarded-for"]
    assert forwarded == ["127.0.0.1"]
    assert given["x-forwarded-proto"] == "http"
    assert given["x-forwarded-host"] == ada.host(port)
    assert not {"forwarded", "x-secret", "authorization"} & given.keys()


async def test_our_api_token_opens_a_preview_and_theirs_reaches_the_program(ada: Browser) -> None:
    seen: list[dict[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(dict((await head(reader))[1]))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with program(serve) as port:
        ours = {"Authorization": ada.ide.http.headers["Authorization"]}
        assert (await ada.get(port, headers=ours)).status_code == 204
        assert (await ada.get(port, headers={"Authorization": "Bearer x"})).status_code == 401
        await ada.enter(port)
        assert (await ada.get(port, headers=ours)).status_code == 204
        assert (await ada.get(port, headers={"Authorization": "Bearer x"})).status_code == 204
    assert ["authorization" in {key.lower() for key in each} for each in seen] == [
        False,
        False,
        True,
    ]


async def test_events_come_as_they_are_sent(ada: Browser) -> None:
    go_on = asyncio.Event()
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await go_on.wait()
        writer.write(b"data: 2\n\n")
        await reader.read()
        gone.set()

    async with program(serve) as port:
        await ada.enter(port)
        async with ada.http.stream("GET", ada.url(port)) as response, asyncio.timeout(TIMEOUT):
            lines = response.aiter_lines()
            assert await anext(lines) == "data: 1"
            go_on.set()
            assert await anext(lines) == ""
            assert await anext(lines) == "data: 2"
        async with asyncio.timeout(TIMEOUT):
            await gone.wait()  # the program hears that nobody listens any longer


async def test_a_large_upload_is_streamed_with_its_expectation_met(ada: Browser) -> None:
    size = 100 * MIB

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = {name.lower(): value for name, value in (await head(reader))[1]}
        assert "expect" not in headers
        left, running = int(headers["content-length"]), hashlib.sha256()
        while left:
            chunk = await reader.read(MIB)
            left -= len(chunk)
            running.update(chunk)
        digest = running.hexdigest().encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n" + digest)

    block = bytes(range(256)) * 4096

    async def body() -> AsyncIterator[bytes]:
        for _ in range(size // len(block)):
            yield block

    running = hashlib.sha256()
    for _ in range(size // len(block)):
        running.update(block)
    async with program(serve) as port:
        await ada.enter(port)
        headers = {"Content-Length": str(size), "Expect": "100-continue"}
        response = await ada.http.post(ada.url(port), content=body(), headers=headers)
        assert response.text == running.hexdigest()


async def test_a_chunked_upload_and_a_chunked_answer(ada: Browser) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        headers = {name.lower(): value for name, value in (await head(reader))[1]}
        assert headers["transfer-encoding"] == "chunked"
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
        writer.write(b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(body), body))

    async def body() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    async with program(serve) as port:
        await ada.enter(port)
        response = await ada.http.post(ada.url(port), content=body())
        assert response.content == b"one two"
        assert "trailer" not in response.headers


async def test_a_head_has_the_length_and_no_body(ada: Browser) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with program(answering(answer)) as port:
        await ada.enter(port)
        response = await ada.http.head(ada.url(port))
        assert (response.headers["content-length"], response.content) == ("1000", b"")


async def test_a_part_of_a_file_is_asked_for_and_answered(ada: Browser) -> None:
    content = bytes(range(256)) * 40

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            asked = {name.lower(): value for name, value in (await head(reader))[1]}["range"]
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = content[int(first) : int(last) + 1]
            where = f"bytes {first}-{last}/{len(content)}"
            answer = f"HTTP/1.1 206 Partial Content\r\nContent-Range: {where}\r\n"
            writer.write(f"{answer}Content-Length: {len(part)}\r\n\r\n".encode() + part)

    async with program(serve) as port:
        await ada.enter(port)
        for first, last in ((0, 0), (100, 5000), (10_000, 10_239)):
            response = await ada.get(port, headers={"Range": f"bytes={first}-{last}"})
            assert response.status_code == 206
            assert response.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"
            assert response.content == content[first : last + 1]


async def test_a_redirect_is_left_to_the_browser(ada: Browser) -> None:
    to = b"http://169.254.169.254/latest/meta-data"
    async with program(answering(b"HTTP/1.1 302 Found\r\nLocation: " + to + b"\r\n\r\n")) as port:
        await ada.enter(port)
        response = await ada.get(port)
        assert (response.status_code, response.headers["location"]) == (302, to.decode())


async def test_a_program_that_does_not_answer_is_given_up(ada: Browser) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with program(serve) as port:
        await ada.enter(port)
        response = await ada.get(port, headers=PAGE)
        assert response.status_code == 504
        assert f"The program on port {port} does not answer" in response.text
        assert (await ada.get(port)).headers["content-type"].startswith("text/plain")


async def test_a_page_waits_for_a_port_that_opens_later(ada: Browser) -> None:
    async with program(answering(b"")) as port:
        pass
    await ada.enter(port)
    page = await ada.get(port, headers=PAGE)
    assert page.status_code == 502
    assert f"Nothing listens on port {port} yet" in page.text
    asked = re.search(r'fetch\("([^"]+)"', page.text)
    assert asked
    assert (await ada.get(port)).status_code == 502
    waiting = asyncio.create_task(ada.http.get(ada.url(port, asked[1]), timeout=60))
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", port)
    async with server:
        assert (await waiting).status_code == 204


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff nonsense\r\n\r\n",
        b"HTTP/1.1 99999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 60_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none(ada: Browser, answer: bytes) -> None:
    async with program(answering(answer)) as port:
        await ada.enter(port)
        response = await ada.get(port)
        assert response.status_code == 502, response.text


async def test_an_answer_without_end_of_its_headers(ada: Browser) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Endless: y\r\n" * 100)
            await writer.drain()

    async with program(serve) as port:
        await ada.enter(port)
        assert (await ada.get(port)).status_code == 502


async def test_a_body_whose_trailers_do_not_end(ada: Browser) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ")
        while True:
            writer.write(b"y" * 10_000)
            await writer.drain()

    async with program(serve) as port:
        await ada.enter(port)
        # It is given up; whether before the answer was begun is a matter of how its bytes come.
        try:
            status = (await ada.get(port)).status_code
        except httpx.RemoteProtocolError:
            status = 502
        assert status == 502


async def test_a_program_may_answer_before_it_has_read_all(ada: Browser) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!")
        await reader.read()

    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = {name.lower(): value for name, value in (await head(reader))[1]}["content-length"]
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %b\r\n\r\n" % length.encode())
        left = int(length)
        while left:
            chunk = await reader.read(65536)
            left -= len(chunk)
            writer.write(chunk)
            await writer.drain()

    content = bytes(range(256)) * 4096 * 16
    async with program(refuse) as port:
        await ada.enter(port)
        response = await ada.http.post(ada.url(port), content=content)
        assert (response.status_code, response.text) == (413, "no!")
    # A client that reads while it sends gets each part back before the last one has left.
    async with program(mirror) as port:
        await ada.enter(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", ada.server.port)
        head_ = f"POST / HTTP/1.1\r\nHost: {ada.host(port)}\r\nCookie: {ada.cookies(port)}\r\n"
        writer.write(f"{head_}Content-Length: {10 * MIB}\r\n\r\n".encode())
        async with asyncio.timeout(TIMEOUT):
            writer.write(content[:MIB])
            await reader.readuntil(b"\r\n\r\n")
            for _ in range(9):
                assert await reader.readexactly(MIB) == content[:MIB]
                writer.write(content[:MIB])
            assert await reader.readexactly(MIB) == content[:MIB]
        writer.close()


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(ada: Browser) -> None:
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ):
        async with program(answering(answer)) as port:
            await ada.enter(port)
            with pytest.raises(httpx.RemoteProtocolError):
                await ada.get(port)


async def test_headers_that_are_too_large(ada: Browser) -> None:
    async with program(answering(b"HTTP/1.1 204 No Content\r\n\r\n")) as port:
        await ada.enter(port)
        headers = {f"X-{number}": "y" * 1000 for number in range(70)}
        assert (await ada.get(port, headers=headers)).status_code == 431


async def test_connections_are_used_again_and_a_closed_one_is_replaced(ada: Browser) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        for _ in range(3):
            await head(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with program(serve) as port:
        await ada.enter(port)
        for _ in range(9):
            assert (await ada.get(port)).text == "ok"
        assert connections == 3


async def test_what_may_not_be_sent_twice_gets_a_connection_of_its_own(ada: Browser) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.readexactly(1)  # and the connection ends as the next request arrives

    async with program(serve) as port:
        await ada.enter(port)
        for method in ("GET", "POST", "PATCH", "GET"):
            assert (await ada.http.request(method, ada.url(port))).status_code == 200, method


async def test_a_page_is_told_of_ports_that_open_and_close(ada: Browser) -> None:
    async def told(socket: ClientConnection, port: int, *, open: bool) -> dict[str, Any] | None:
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                event = json.loads(await socket.recv())
                if event["type"] == "ports":
                    here = [each for each in event["ports"] if each["port"] == port]
                    if bool(here) is open:
                        return here[0] if here else None

    async with ada.ide.socket("/api/v1/events") as socket:
        await socket.send(json.dumps({"type": "watch", "workspace": WORKSPACE}))
        async with program(answering(b"")) as port:
            told_of = await told(socket, port, open=True)
            assert told_of is not None
            assert sys.executable in told_of["process"]
            assert (told_of["url"], told_of["visibility"]) == (ada.url(port), "private")
            listed = await ada.ide.get(f"/api/v1/workspaces/{WORKSPACE}/ports")
            assert told_of in listed["ports"]
        await told(socket, port, open=False)


async def test_a_long_download_keeps_the_workspace_alive(ada: Browser, site: Uncontained) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (MIB * MIB))
        while True:
            writer.write(b"x" * MIB)
            await writer.drain()

    async def used_at() -> datetime:
        found = await site.api.get(f"/api/v1/workspaces/{WORKSPACE}/activity")
        return datetime.fromisoformat(found["last"]["preview"])

    async with program(serve) as port:
        await ada.enter(port)
        async with ada.http.stream("GET", ada.url(port)) as response:
            began = await used_at()
            async with asyncio.timeout(WAIT_SECONDS):
                async for _ in response.aiter_bytes(MIB):
                    # The moment is told from a clock of its own, to a millisecond or so.
                    if await used_at() - began > timedelta(milliseconds=100):
                        break
