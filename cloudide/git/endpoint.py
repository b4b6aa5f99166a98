"""Smart HTTP (gitprotocol-http(5)) between Git in a container and a repository's host.

Git in the container is given an address on its own loopback interface, whose path is a secret of
this errand. What it asks there comes to the server over the agent's link. The server takes requests
for this repository and this service alone, adds the person's credentials, and passes them on over
a connection of its own. The container sees neither the credentials nor who the host is asked as.

Whoever learns the address while the errand lasts is another program of the same workspace, and can
do with it what was asked for and no more: fetch from this repository, or set the very references
that a person has confirmed to the commits that they were shown.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import urljoin, urlsplit

import h11
import httpcore
import msgspec
import structlog

from cloudide.agents.link import Agent
from cloudide.agents.outlets import Outlet, outlet
from cloudide.agents.streams import Stream
from cloudide.errors import AgentUnavailable, CloudIDEError, Denied, InvalidInput, Unavailable
from cloudide.git.errand import PUSH, Errand
from cloudide.git.remotes import Hosts, within
from cloudide.git.upstream import READ_TIMEOUT, TIMEOUTS, pool_for
from cloudide.protocol.agent import Eof
from cloudide.protocol.pktline import Commands, Malformed

HEAD_LIMIT = 32 * 1024  # bytes
CONNECTIONS = 4  # of Git, at one time
LASTS = 3600.0  # seconds; whoever opens an endpoint ends it long before
EXPLANATION_LIMIT = 2000  # bytes of what a host says instead of answering
REDIRECTS = (301, 302, 303, 307, 308)

_log = structlog.get_logger(__name__)


class Endpoint:
    """Where Git in the container finds a repository while an errand lasts."""

    def __init__(self, errand: Errand, outlet: Outlet, hosts: Hosts, context: ssl.SSLContext):
        self.errand = errand
        self._secret = secrets.token_urlsafe(32)
        self.url = f"http://127.0.0.1:{outlet.port}/{self._secret}"
        self._outlet = outlet
        self._path = errand.remote.path  # as the host wants to have it called
        self._pool = pool_for(errand.remote, hosts, context)

    async def serve(self) -> None:
        """Serve what connects, until cancelled."""
        free = asyncio.Semaphore(CONNECTIONS)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await free.acquire()
                    stream = await self._outlet.accept(LASTS)
                    task = tasks.create_task(self._connection(stream))
                    task.add_done_callback(lambda _: free.release())
        finally:
            await self._pool.aclose()

    async def _connection(self, stream: Stream) -> None:
        try:
            await _Connection(stream, self).serve()
        except (AgentUnavailable, h11.RemoteProtocolError, h11.LocalProtocolError) as error:
            _log.debug("git.connection_ended", error=str(error))
        except Exception:
            _log.exception("git.connection_failed", repository=self.errand.remote.repository)
        finally:
            await stream.close()

    # ── what may be asked ───────────────────────────────────────────────────────────────────────

    def target_of(self, request: h11.Request) -> str:
        """What is asked, from the repository on.

        Raises:
            Denied: it is not of this errand.
        """
        target = request.target.decode("latin-1")
        prefix = f"/{self._secret}"
        given, rest = target[: len(prefix)], target[len(prefix) :]
        if not secrets.compare_digest(given.encode("latin-1"), prefix.encode()):
            raise Denied("This address leads nowhere.")
        errand = self.errand
        if request.method == b"GET" and errand.discovers(rest):
            return rest
        if request.method == b"POST" and errand.serves(rest):
            return rest
        raise Denied(f"Only {errand.service} of {errand.remote.repository} was asked for.")

    @asynccontextmanager
    async def ask(
        self, request: h11.Request, target: str, body: AsyncIterator[bytes] | None
    ) -> AsyncIterator[httpcore.Response]:
        """The host's answer to a request, if it is of the kind that Git expects.

        Raises:
            CloudIDEError: it is not, and why.
        """
        async with AsyncExitStack() as stack:
            answer = await stack.enter_async_context(self._send(request, target, body))
            if answer.status in REDIRECTS and body is None:
                self._redirected(answer, target)
                answer = await stack.enter_async_context(self._send(request, target, body))
            await self._check(answer, target)
            yield answer

    def _send(
        self, request: h11.Request, target: str, body: AsyncIterator[bytes] | None
    ) -> AbstractAsyncContextManager[httpcore.Response]:
        return self._pool.stream(
            request.method,
            self._address(target),
            headers=self._headers(request),
            content=body,
            extensions={"timeout": TIMEOUTS},
        )

    def _address(self, target: str) -> str:
        remote = self.errand.remote
        return f"{remote.scheme}://{remote.host}/{self._path}{target}"

    def _headers(self, request: h11.Request) -> list[tuple[bytes, bytes]]:
        given = {name.lower(): value for name, value in request.headers}
        headers = [(b"Host", self.errand.remote.host.encode())]
        agent = given.get(b"user-agent", b"")
        headers.append((b"User-Agent", agent if agent.startswith(b"git/") else b"git/2"))
        for name in (b"accept", b"content-type", b"git-protocol", b"content-length"):
            if name in given:
                headers.append((name, given[name]))
        if request.method == b"POST" and b"content-length" not in given:
            headers.append((b"Transfer-Encoding", b"chunked"))
        if b"content-encoding" in given:
            if self.errand.service == PUSH:
                raise Denied("A push cannot be compressed; it is looked into.")
            headers.append((b"content-encoding", given[b"content-encoding"]))
        if b"gzip" in given.get(b"accept-encoding", b""):
            headers.append((b"accept-encoding", b"gzip"))
        if (login := self.errand.login) is not None:
            pair = f"{login.credential.username}:{login.secret}".encode()
            headers.append((b"Authorization", b"Basic " + base64.b64encode(pair)))
        return headers

    def _redirected(self, answer: httpcore.Response, target: str) -> None:
        """Follow a host that calls the repository otherwise, and nobody who sends us elsewhere."""
        remote = self.errand.remote
        location = dict(answer.headers).get(b"Location", dict(answer.headers).get(b"location", b""))
        there = urlsplit(urljoin(self._address(target), location.decode("latin-1")))
        path, query = there.path.strip("/"), f"?{there.query}" if there.query else ""
        suffix = target.partition("?")[0]
        named = path.removesuffix(suffix.strip("/")).rstrip("/")
        login = self.errand.login
        if (
            there.scheme != remote.scheme
            or there.netloc.lower() != remote.host
            or not f"/{path}{query}".endswith(target)
            or (login is not None and not within(named, login.credential.path))
        ):
            raise Unavailable(
                f"{remote.host} says that the repository has moved to {there.netloc}{there.path}. "
                "Change the address of the remote if that is right: git remote set-url."
            )
        self._path = named

    async def _check(self, answer: httpcore.Response, target: str) -> None:
        remote, login = self.errand.remote, self.errand.login
        if answer.status in (401, 403):
            who = f"as {login.credential.username}" if login is not None else "without a sign-in"
            said = await _explanation(answer)
            raise Denied(
                f"{remote.host} lets nobody in {who} to {'push to' if self._pushes else 'read'} "
                f"{remote.repository}.{said} Check your Git credentials on your account's page."
            )
        if answer.status == 404:
            raise Unavailable(
                f"{remote.host} has no repository {remote.path}, or it is not to be seen with "
                "these credentials."
            )
        if answer.status != 200:
            said = await _explanation(answer)
            raise Unavailable(f"{remote.host} answered with error {answer.status}.{said}")
        headers = {name.lower(): value for name, value in answer.headers}
        kind = "advertisement" if self.errand.discovers(target) else "result"
        if headers.get(b"content-type", b"") != f"application/x-{self._service}-{kind}".encode():
            raise Unavailable(f"{remote.host} does not answer as a Git host does (smart HTTP).")

    @property
    def _service(self) -> str:
        return self.errand.service

    @property
    def _pushes(self) -> bool:
        return self.errand.service == PUSH


async def _explanation(answer: httpcore.Response) -> str:
    """What a host says in plain text of why not."""
    headers = {name.lower(): value for name, value in answer.headers}
    if not headers.get(b"content-type", b"").startswith(b"text/plain"):
        return ""
    said = b""
    with suppress(httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        async for chunk in answer.aiter_stream():
            said += chunk
            if len(said) >= EXPLANATION_LIMIT:
                break
    text = " ".join(said[:EXPLANATION_LIMIT].decode(errors="replace").split())
    return f" It said: “{text}”." if text else ""


class _Connection:
    """One connection of Git: HTTP/1.1 on our side of a stream."""

    def __init__(self, stream: Stream, endpoint: Endpoint) -> None:
        self._stream = stream
        self._endpoint = endpoint
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    async def serve(self) -> None:
        while True:
            event = await self._next()
            if not isinstance(event, h11.Request):
                return
            await self._answer(event)
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _next(self) -> Any:
        while True:
            event = self._http.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            async with asyncio.timeout(READ_TIMEOUT):
                match await self._stream.recv():
                    case bytes() as data if data:
                        self._http.receive_data(data)
                    case Eof():
                        self._http.receive_data(b"")
                    case _:
                        raise AgentUnavailable("The workspace's agent sent a malformed message.")

    async def _send(self, event: Any) -> None:
        data = self._http.send(event)
        if data:
            await self._stream.send_all(data)

    async def _answer(self, request: h11.Request) -> None:
        try:
            target = self._endpoint.target_of(request)
            # What is pushed is looked into before anything of it goes on.
            body = await self._push() if target == f"/{PUSH}" else self._body()
            content = body if request.method == b"POST" else None
            async with self._endpoint.ask(request, target, content) as answer:
                await self._pass(answer)
        except CloudIDEError as error:
            if not isinstance(error, AgentUnavailable):
                await self._refuse(error)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            host = self._endpoint.errand.remote.host
            why = str(error.__cause__ or error) or type(error).__name__
            await self._refuse(Unavailable(f"The connection to {host} failed: {why}"))
        except ssl.SSLError as error:
            host = self._endpoint.errand.remote.host
            await self._refuse(Unavailable(f"{host} has no certificate that is trusted: {error}"))

    async def _refuse(self, error: CloudIDEError) -> None:
        """Tell Git why not; it prints plain text as words of the host."""
        self._endpoint.errand.fail(error)
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return  # half an answer is all it gets
        content = f"{error.message}\n".encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(content))),
            ("Connection", "close"),
        ]
        # Never 401: Git would ask for a password, and whatever it got would be of no use here.
        await self._send(h11.Response(status_code=403, headers=headers))
        await self._send(h11.Data(data=content))
        await self._send(h11.EndOfMessage())

    async def _body(self) -> AsyncGenerator[bytes]:
        while isinstance(event := await self._next(), h11.Data):
            yield bytes(event.data)

    async def _push(self) -> AsyncGenerator[bytes]:
        """The body of a push, once it is known to ask for nothing but what was confirmed."""
        commands, begun = Commands(), b""
        try:
            while not commands.done:
                event = await self._next()
                if not isinstance(event, h11.Data):
                    raise Malformed("it ended early")
                begun += bytes(event.data)
                commands.feed(bytes(event.data))
        except Malformed as error:
            raise InvalidInput(f"The push was not understood: {error}.") from error
        # Git tries with an empty one whether it is let in at all.
        if commands.updates:
            await self._endpoint.errand.approve(commands.updates)

        async def body() -> AsyncGenerator[bytes]:
            yield begun
            async for data in self._body():
                yield data

        return body()

    async def _pass(self, answer: httpcore.Response) -> None:
        headers = [
            (name, value)
            for name, value in answer.headers
            if name.lower() in (b"content-type", b"content-encoding", b"content-length")
        ]
        await self._send(
            h11.Response(status_code=200, headers=[*headers, (b"Cache-Control", b"no-cache")])
        )
        async for chunk in answer.aiter_stream():
            await self._send(h11.Data(data=chunk))
        await self._send(h11.EndOfMessage())


@asynccontextmanager
async def endpoint(
    agent: Agent, errand: Errand, hosts: Hosts, context: ssl.SSLContext
) -> AsyncIterator[Endpoint]:
    """An endpoint that is there as long as the block."""
    async with outlet(agent) as opened:
        made = Endpoint(errand, opened, hosts, context)
        serving = asyncio.create_task(made.serve())
        try:
            yield made
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


class Pair(msgspec.Struct, frozen=True):
    key: str
    value: str


def environment(pairs: list[Pair]) -> dict[str, str]:
    """Configuration of one Git process, and of those that it starts (git-config(1))."""
    named = {"GIT_CONFIG_COUNT": str(len(pairs))}
    for number, pair in enumerate(pairs):
        named[f"GIT_CONFIG_KEY_{number}"] = pair.key
        named[f"GIT_CONFIG_VALUE_{number}"] = pair.value
    return named


def through(url: str, raw: str) -> dict[str, str]:
    """The environment in which Git finds the repository `raw` at an endpoint."""
    return {
        **environment(
            [
                Pair(f"url.{url}.insteadOf", raw),
                Pair(f"url.{url}.pushInsteadOf", raw),
                Pair(f"http.{url}.proxy", ""),
                Pair("credential.helper", ""),  # forgets all others
                Pair("http.followRedirects", "false"),
            ]
        ),
        "GIT_TERMINAL_PROMPT": "0",
    }
