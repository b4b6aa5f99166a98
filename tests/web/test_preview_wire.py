"""What passes a preview byte by byte, below any HTTP client: over HTTPS, behind a trusted proxy."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest
from browsing import TIMEOUT, answering, head, program, until_linked
from promises.uncontained import HEADERS, WORKSPACE, Uncontained, uncontained
from server import Api

MIB = 1024 * 1024
SITE = "ide.example.org"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Visitor:
    """A browser that was let in to previews, behind the proxy that ends its TLS."""

    def __init__(self, server: Uncontained) -> None:
        self.server = server
        self.cookies: dict[int, str] = {}

    def host(self, port: int) -> str:
        return f"{port}--{WORKSPACE}.preview.{SITE}"

    async def enter(self, port: int) -> str:
        """Sign in to a preview; returns the Set-Cookie line."""
        way = await self.server.api.post(f"/api/v1/workspaces/{WORKSPACE}/ports/{port}/ticket")
        assert way["url"].startswith(f"https://{self.host(port)}/")
        path = way["url"].partition(self.host(port))[2]
        answer = await self.send(port, b"GET %b HTTP/1.1\r\n", path.encode())
        (line,) = re.findall(rb"\r\nset-cookie: (.*)\r\n", answer)
        self.cookies[port] = line.decode().partition(";")[0]
        return line.decode()

    @asynccontextmanager
    async def connection(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """To the server, for as long as the context and at most `TIMEOUT` seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            async with asyncio.timeout(TIMEOUT):
                yield reader, writer
        finally:
            writer.transport.abort()

    def lines(self, port: int) -> bytes:
        return f"Host: {self.host(port)}\r\nCookie: {self.cookies.get(port, '')}\r\n".encode()

    async def send(self, port: int, start: bytes, path: bytes = b"", more: bytes = b"") -> bytes:
        """One request on a connection of its own; all that comes back."""
        async with self.connection() as (reader, writer):
            request = start % path if path else start
            writer.write(request + self.lines(port) + more + b"Connection: close\r\n\r\n")
            return await reader.read()


@pytest.fixture(scope="module")
async def visitor(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Visitor]:
    directory = tmp_path_factory.mktemp("wire")
    settings = {"public_url": f"https://{SITE}", "trusted_proxies": "127.0.0.1"}
    async with uncontained(directory, **settings) as server:
        await server.api.close()
        server.api = Api(f"http://127.0.0.1:{server.port}", headers={**HEADERS, "Host": SITE})
        await until_linked(server)
        yield Visitor(server)


async def test_over_https_cookies_are_secure_and_bound_to_their_host(visitor: Visitor) -> None:
    seen: list[dict[str, str]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append({name.lower(): value for name, value in (await head(reader))[1]})
            writer.write(OK)

    async with program(serve) as port:
        line = await visitor.enter(port)
        assert re.fullmatch(
            r"__Host-cloudide-preview=[\w-]{43}; Path=/; Max-Age=86400; HttpOnly; Secure; "
            r"SameSite=None; Partitioned",
            line,
        )
        more = b"X-Forwarded-For: 6.6.6.6, 192.0.2.7\r\nX-Forwarded-Proto: http\r\n"
        answer = await visitor.send(port, b"GET / HTTP/1.1\r\n", more=more)
        assert answer.endswith(b"\r\n\r\nok")
    (given,) = seen
    assert "cookie" not in given
    assert given["x-forwarded-for"] == "192.0.2.7"  # what the proxy wrote, not what it was sent
    assert given["x-forwarded-proto"] == "https"
    token = visitor.server.sign_in_url.partition("token=")[2]
    body = {"token": token, "name": "Ada"}
    origin = {"Origin": f"https://{SITE}"}
    signed_in = await visitor.server.api.request(
        "POST", "/api/v1/session", json=body, headers=origin
    )
    session = signed_in.headers["set-cookie"]
    assert session.startswith("__Host-cloudide=")
    assert "; Secure" in session
    assert "domain" not in session.lower()


async def test_pipelined_requests_are_answered_in_order(visitor: Visitor) -> None:
    async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line, headers = await head(reader)
            length = int(dict(headers).get("content-length", "0"))
            body = line.split()[1].encode() + await reader.readexactly(length)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    async with program(mirror) as port:
        await visitor.enter(port)
        async with visitor.connection() as (reader, writer):
            ask = visitor.lines(port)
            for _ in range(2):  # the first time it is not yet known who comes
                writer.write(
                    b"GET /1 HTTP/1.1\r\n%b\r\nPOST /2 HTTP/1.1\r\n%bContent-Length: 5\r\n\r\nhello"
                    b"GET /3 HTTP/1.1\r\n%b\r\n" % (ask, ask, ask)
                )
                for body in (b"/1", b"/2hello", b"/3"):
                    assert b"content-length: %d\r\n" % len(body) in await reader.readuntil(
                        b"\r\n\r\n"
                    )
                    assert await reader.readexactly(len(body)) == body


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd",
        b"Content-Length: +4\r\n\r\nabcd",
        b"Content-Length: 4,4\r\n\r\nabcd",
        b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"X: a\r\n folded\r\n\r\n",
        b"X: a\rY: b\r\n\r\n",
        b"X: a\0b\r\n\r\n",
        b"Bad Name: a\r\n\r\n",
    ],
)
async def test_a_request_whose_end_is_in_doubt_reaches_nobody(
    visitor: Visitor, headers: bytes
) -> None:
    reached: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            reached.append((await head(reader))[0])
            writer.write(OK)

    async with program(serve) as port:
        await visitor.enter(port)
        good = b"GET /good HTTP/1.1\r\n" + visitor.lines(port) + b"\r\n"
        async with visitor.connection() as (reader, writer):
            writer.write(good)
            await reader.readuntil(b"\r\n\r\nok")
            writer.write(b"POST /bad HTTP/1.1\r\n" + visitor.lines(port) + headers)
            writer.write_eof()
            assert (await reader.read()).startswith((b"HTTP/1.1 400", b""))
    assert reached == ["GET /good HTTP/1.1"]


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (OK + OK.replace(b"ok", b"!!"), True),
        (OK + b"trailing nonsense", True),
        (b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n!!", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + OK, True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok", False),
    ],
)
async def test_an_answer_is_one_answer(visitor: Visitor, answer: bytes, passed: bool) -> None:
    """What a program sends besides never is the answer to somebody's next request."""
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        first = connections == 1
        while True:
            await head(reader)
            writer.write(answer if first else b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond")

    async with program(serve) as port:
        await visitor.enter(port)
        async with visitor.connection() as (reader, writer):
            ask = b"GET / HTTP/1.1\r\n" + visitor.lines(port) + b"\r\n"
            writer.write(ask)
            status = await reader.readuntil(b"\r\n\r\n")
            assert (b" 502 " in status) is not passed
            writer.write(ask)
            rest = await reader.readuntil(b"second")
            assert b"!!" not in rest.partition(b"HTTP/1.1 ")[0]
            assert rest.count(b"HTTP/1.1 ") == 1


async def test_who_reads_nothing_holds_the_program_back_and_costs_no_memory(
    visitor: Visitor,
) -> None:
    written, full = 0, asyncio.Event()

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await head(reader)
        writer.transport.set_write_buffer_limits(0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1024 * MIB))
        while True:
            writer.write(bytes(MIB))
            written += MIB
            try:
                await asyncio.wait_for(writer.drain(), 0.5)
            except TimeoutError:
                full.set()
                break
        await reader.read()

    async with program(pour) as port:
        await visitor.enter(port)
        server = psutil.Process(visitor.server.pid)
        before = server.memory_info().rss
        async with visitor.connection() as (_, writer):
            writer.write(b"GET / HTTP/1.1\r\n" + visitor.lines(port) + b"\r\n")
            await full.wait()
            assert written < 64 * MIB
            assert server.memory_info().rss - before < 8 * MIB


async def test_a_program_that_reads_nothing_holds_the_upload_back(visitor: Visitor) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head(reader)
        writer.transport.pause_reading()  # pyright: ignore[reportAttributeAccessIssue]
        arrived.set()
        await go_on.wait()
        writer.write(OK.replace(b"200 OK", b"413 Too Large"))

    async with program(serve) as port:
        await visitor.enter(port)
        server = psutil.Process(visitor.server.pid)
        before = server.memory_info().rss
        async with visitor.connection() as (reader, writer):
            writer.write(b"POST / HTTP/1.1\r\n%b" % visitor.lines(port))
            writer.write(b"Content-Length: %d\r\n\r\n" % (1024 * MIB))
            await arrived.wait()
            sent = 0
            while True:
                writer.write(bytes(MIB))
                sent += MIB
                try:
                    await asyncio.wait_for(writer.drain(), 0.5)
                except TimeoutError:
                    break
            assert sent < 64 * MIB
            assert server.memory_info().rss - before < 8 * MIB
            go_on.set()
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 413")


async def test_a_browser_of_http_1_0_gets_an_answer_that_ends_with_the_connection(
    visitor: Visitor,
) -> None:
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"
    async with program(answering(body)) as port:
        await visitor.enter(port)
        answer = await visitor.send(port, b"GET / HTTP/1.0\r\n")
        assert answer.endswith(b"\r\n\r\nonetwo")
        assert b"transfer-encoding" not in answer
