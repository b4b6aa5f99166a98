"""All agents: where they dial in, who is connected, and who wants to know."""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path

import msgspec
import structlog
from websockets.asyncio.server import Server, ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from cloudide.agents.directory import LinkDirectory
from cloudide.agents.failures import UNDECODABLE, printable
from cloudide.agents.link import Agent, Event, Malformed
from cloudide.agents.streams import Gone
from cloudide.agents.tunnels import Tunnel
from cloudide.errors import AgentUnavailable
from cloudide.protocol.agent import (
    CONTROL_FRAME_LIMIT,
    CONTROL_PATH,
    PROTOCOL_VERSION,
    SOCKET_NAME,
    STREAM_FRAME_LIMIT,
    STREAM_PATH,
    TUNNEL_SOCKET_NAME,
    Asked,
    FilesChanged,
    Hello,
    Port,
    PortsChanged,
    TerminalChanged,
    TerminalInfo,
    TerminalRemoved,
    Withdrawn,
)

HELLO_TIMEOUT = 10.0  # seconds
CLOSE_TIMEOUT = 2.0  # seconds a peer has to answer a close frame
SOCKETS_LIMIT = 256  # sockets of one workspace; each terminal, program and transfer is one
RECEIVE_QUEUE = 8  # frames
WRITE_LIMIT = 256 * 1024  # bytes

_log = structlog.get_logger(__name__)
_hello = msgspec.msgpack.Decoder(Hello)


class Listener:
    """What may be heard of all agents. Methods are called on the event loop and must not block."""

    def connected(self, agent: Agent) -> None:
        """An agent said hello. A former one of its workspace was reported as disconnected."""

    def disconnected(self, workspace_id: str) -> None: ...

    def files_changed(self, workspace_id: str, event: FilesChanged) -> None: ...

    def terminal_changed(self, workspace_id: str, terminal: TerminalInfo) -> None: ...

    def terminal_removed(self, workspace_id: str, terminal_id: str) -> None: ...

    def ports_changed(self, workspace_id: str, ports: list[Port]) -> None:
        """All that listen now; what listened at first is in the agent's hello."""

    def asked(self, workspace_id: str, asked: Asked) -> None: ...

    def withdrawn(self, workspace_id: str, question_id: str) -> None: ...


class Agents:
    """The agents of all workspaces. One Unix socket for each; the newest control socket counts."""

    def __init__(self, run_directory: Path) -> None:
        self._run_directory = run_directory
        self._doors: dict[str, _Door] = {}
        self._listeners: list[Listener] = []

    async def listen(self, workspace_id: str) -> Path:
        """Listen for a workspace's agent; returns the directory to mount. Idempotent."""
        door = self._doors.get(workspace_id)
        if door is None:
            if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", workspace_id):
                raise ValueError(f"not a workspace id: {workspace_id!r}")
            door = self._doors[workspace_id] = _Door(self, workspace_id)
            try:
                await door.open(self._run_directory)
            except BaseException:
                del self._doors[workspace_id]
                raise
        return door.path

    async def forget(self, workspace_id: str) -> None:
        """Stop listening and remove the directory, token included."""
        if door := self._doors.pop(workspace_id, None):
            await door.close(CloseCode.GOING_AWAY)
            door.directory.remove()

    def renew_token(self, workspace_id: str) -> None:
        """Give a workspace another token. Its agent, if it is connected, stays so; whatever else
        knew the former one gets in no more."""
        if door := self._doors.get(workspace_id):
            door.renew_token()

    def agent(self, workspace_id: str) -> Agent:
        """The connected agent of a workspace.

        Raises:
            AgentUnavailable: there is none.
        """
        door = self._doors.get(workspace_id)
        if door is None or door.agent is None:
            raise AgentUnavailable
        return door.agent

    async def wait(self, workspace_id: str, timeout: float) -> Agent:
        """The agent of a workspace, as soon as it is connected.

        Raises:
            AgentUnavailable: it does not connect in time, or nobody listens for it.
        """
        door = self._doors.get(workspace_id)
        if door is None:
            raise AgentUnavailable
        try:
            async with asyncio.timeout(timeout):
                while door.agent is None:
                    await door.changed.wait()
        except TimeoutError as error:
            raise AgentUnavailable("The workspace's agent did not connect in time.") from error
        return door.agent

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell `listener` of everything from now on; returns how to stop that."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return unsubscribe

    async def close(self) -> None:
        """Stop listening everywhere. Directories and tokens stay: agents go on dialling."""
        doors = [*self._doors.values()]
        self._doors.clear()
        await asyncio.gather(*(door.close(CloseCode.SERVICE_RESTART) for door in doors))

    def notify(self, tell: Callable[[Listener], None]) -> None:
        for listener in [*self._listeners]:
            try:
                tell(listener)
            except Exception:
                # One listener's fault must not cost the others, or the agent its link.
                _log.exception("agents.listener_failed", listener=type(listener).__name__)


class _Door:
    """The listening socket of one workspace and what came in through it."""

    directory: LinkDirectory

    def __init__(self, hub: Agents, workspace_id: str) -> None:
        self.workspace_id = workspace_id
        self.agent: Agent | None = None
        self.changed = asyncio.Event()
        self.sockets = 0
        self._hub = hub
        self._server: Server | None = None
        self._tunnels: asyncio.Server | None = None

    @property
    def path(self) -> Path:
        return self.directory.path

    async def open(self, run_directory: Path) -> None:
        self.directory = LinkDirectory(run_directory, self.workspace_id)
        try:
            self._token = self.directory.token().encode()
            self._tunnels = await asyncio.get_running_loop().create_unix_server(
                lambda: Tunnel(self._accept, self.count, HELLO_TIMEOUT),
                sock=self.directory.bind(TUNNEL_SOCKET_NAME),
            )
            self._server = await unix_serve(
                self._handle,
                sock=self.directory.bind(SOCKET_NAME),
                process_request=self._admit,
                compression=None,  # the other end is on this machine
                max_size=STREAM_FRAME_LIMIT,
                max_queue=RECEIVE_QUEUE,
                write_limit=WRITE_LIMIT,
                create_connection=_socket_of(self),
                ping_interval=None,  # a stream held back by its consumer answers no ping
                close_timeout=CLOSE_TIMEOUT,
                open_timeout=HELLO_TIMEOUT,
                server_header=None,
            )
        except BaseException:
            if self._tunnels is not None:
                self._tunnels.close()
            self.directory.close()
            raise

    def renew_token(self) -> None:
        self._token = self.directory.new_token().encode()

    async def close(self, code: CloseCode) -> None:
        if self._tunnels is not None:
            self._tunnels.close()
        if self._server is not None:
            self._server.close(code=code)
            await self._server.wait_closed()
        self.directory.close()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Check path and token before the upgrade (RFC 6455 section 4.2.2)."""
        given = request.headers.get_all("Authorization")
        if len(given) != 1 or not self._is_token(given[0].encode().removeprefix(b"Bearer ")):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "The token is wrong.\n")
        if request.path == CONTROL_PATH:
            connection.protocol.max_message_size = CONTROL_FRAME_LIMIT
            return None
        if self.agent is not None and self._stream_id(request) in self.agent.rendezvous:
            return None
        return connection.respond(HTTPStatus.NOT_FOUND, "There is no such stream.\n")

    def _is_token(self, given: bytes) -> bool:
        if hmac.compare_digest(given, self._token):
            return True
        _log.warning("agent.wrong_token", workspace=self.workspace_id)
        return False

    def _accept(self, tunnel: Tunnel, greeting: bytes) -> bool:
        """Whether a tunnel that greets so was asked for; it is handed over."""
        token, _, stream_id = greeting.partition(b" ")
        return (
            self._is_token(token)
            and self.agent is not None
            and self.agent.rendezvous.arrived(stream_id.decode("latin-1"), tunnel)
        )

    def count(self, change: int) -> bool:
        """Count a socket that came or went; False if there are too many."""
        self.sockets += change
        if change > 0 and self.sockets > SOCKETS_LIMIT:
            _log.warning("agent.too_many_sockets", workspace=self.workspace_id)
            return False
        return True

    @staticmethod
    def _stream_id(request: Request) -> str:
        prefix, _, stream_id = request.path.rpartition("/")
        return stream_id if prefix + "/" == STREAM_PATH else ""

    async def _handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        if socket.request.path == CONTROL_PATH:
            await self._control(socket)
        elif self.agent is not None:
            await self.agent.rendezvous.serve(self._stream_id(socket.request), socket)

    async def _control(self, socket: ServerConnection) -> None:
        try:
            agent = await self._greet(socket)
            if agent is None:
                return
            self._replace(agent)
            try:
                await agent.run(self._event)
            finally:
                if self.agent is agent:
                    self._leave()
        except Malformed as error:
            _log.warning("agent.malformed", workspace=self.workspace_id, error=str(error)[:200])
            await socket.close(CloseCode.INVALID_DATA, "malformed message")

    async def _greet(self, socket: ServerConnection) -> Agent | None:
        try:
            async with asyncio.timeout(HELLO_TIMEOUT):
                frame = await socket.recv(decode=False)
            hello = _hello.decode(frame)
        except (TimeoutError, ConnectionClosed):
            return None
        except UNDECODABLE as error:
            raise Malformed(f"hello: {error}") from error
        if hello.protocol != PROTOCOL_VERSION:
            _log.warning("agent.protocol", workspace=self.workspace_id, protocol=hello.protocol)
            await socket.close(CloseCode.POLICY_VIOLATION, "another protocol version")
            return None
        return Agent(self.workspace_id, hello, socket)

    def _replace(self, agent: Agent) -> None:
        former, self.agent = self.agent, agent
        if former is not None:
            former.cut()
            self._hub.notify(lambda listener: listener.disconnected(self.workspace_id))
        _log.info(
            "agent.connected",
            workspace=self.workspace_id,
            user=printable(agent.hello.user),
            terminals=len(agent.hello.terminals),
        )
        self._hub.notify(lambda listener: listener.connected(agent))
        self.changed.set()
        self.changed.clear()

    def _leave(self) -> None:
        self.agent = None
        _log.info("agent.disconnected", workspace=self.workspace_id)
        self._hub.notify(lambda listener: listener.disconnected(self.workspace_id))

    def _event(self, event: Event) -> None:
        match event:
            case FilesChanged():
                self._hub.notify(lambda each: each.files_changed(self.workspace_id, event))
            case TerminalChanged(terminal):
                self._hub.notify(lambda each: each.terminal_changed(self.workspace_id, terminal))
            case TerminalRemoved(terminal_id):
                self._hub.notify(lambda each: each.terminal_removed(self.workspace_id, terminal_id))
            case PortsChanged(ports):
                self._hub.notify(lambda each: each.ports_changed(self.workspace_id, ports))
            case Asked():
                self._hub.notify(lambda each: each.asked(self.workspace_id, event))
            case Withdrawn(question_id):
                self._hub.notify(lambda each: each.withdrawn(self.workspace_id, question_id))


def _socket_of(door: _Door) -> type[ServerConnection]:
    class Socket(ServerConnection):
        """Counts itself from accept to close, so that a container cannot use up descriptors."""

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            if not door.count(1):
                self.transport.abort()

        def connection_lost(self, exc: Exception | None) -> None:
            door.count(-1)
            super().connection_lost(exc)
            self.transport = Gone()

    return Socket
