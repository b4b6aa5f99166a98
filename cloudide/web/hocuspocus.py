"""`WS /api/v1/workspaces/{id}/collab`: many documents on one socket, for Hocuspocus clients.

To a room each document on the socket is a connection like any other: it has a channel of its own,
with its own budget, whose wire is the shared socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from starlette.websockets import WebSocket

from cloudide.channel import GONE, Channel, Frame
from cloudide.collab.connection import Connection
from cloudide.errors import CloudIDEError, InvalidInput, TooMany
from cloudide.identity.permissions import Grant
from cloudide.protocol import hocuspocus
from cloudide.protocol.sync import EXTENSION
from cloudide.protocol.varint import Reader
from cloudide.web.files import clean_path
from cloudide.web.services import services
from cloudide.web.wire import Receive

DOCUMENTS = 64  # on one socket
BUDGET_SHARE = 8  # one document may queue this part of what a socket of its own may


class _Acknowledged(msgspec.Struct, tag_field="type", tag="ack"):
    count: int


class Document:
    """One document on the socket; the wire of its own channel."""

    direct = None  # the document's name goes before each frame

    def __init__(self, socket: Socket, key: str) -> None:
        provided = services(socket.websocket)
        self.channel = Channel(
            self, provided.settings.collab_queue // BUDGET_SHARE, provided.settings.stall_limit
        )
        self.connection: Connection | None = None
        self._socket = socket
        self._key = key
        self._acknowledged = 0

    @property
    def unsent(self) -> int:
        return self._socket.channel.unsent

    def write(self, frame: Frame) -> None:
        assert isinstance(frame, bytes)
        send, key = self._socket.channel.send, self._key
        if frame[0] != EXTENSION:
            send(hocuspocus.message(key, frame))
            return
        reader = Reader(frame, 1)
        payload = reader.text()
        if not payload.startswith('{"type":"ack"'):
            send(hocuspocus.stateless(key, payload))
            return
        count = msgspec.json.decode(payload, type=_Acknowledged).count
        for _ in range(count - self._acknowledged):
            send(hocuspocus.taken(key))
        self._acknowledged = count

    def close(self, code: int, reason: str) -> None:
        """The room sends this client away."""
        self._socket.forget(self._key)
        if code == GONE:
            return
        if 4400 <= code < 4500:
            self._socket.channel.send(hocuspocus.denied(self._key, reason))
        else:
            # Only a new connection makes a Hocuspocus client ask for its documents again.
            self._socket.channel.close(code, reason)


class Socket:
    """All documents of one client."""

    def __init__(self, websocket: WebSocket, channel: Channel) -> None:
        self.websocket = websocket
        self.channel = channel
        self._documents: dict[str, Document] = {}

    def receive(self, frame: Frame) -> Awaitable[None] | None:
        """Handle one frame. Raises: CloudIDEError: the client may not go on."""
        if isinstance(frame, str):
            raise InvalidInput("This socket takes binary frames.")
        key, content = hocuspocus.read_frame(frame)
        document = self._documents.get(key)
        match content:
            case hocuspocus.Open() if document is None:
                return self._open(key)
            case hocuspocus.Pass(message) if document is not None:
                assert document.connection is not None
                return document.connection.receive(message)
            case hocuspocus.Close() if document is not None:
                self.channel.send(hocuspocus.closed(key, ""))
                document.channel.gone()
            case _:
                # Of a document that was denied or closed meanwhile.
                pass
        return None

    async def leave(self) -> None:
        for document in list(self._documents.values()):
            document.channel.gone()

    def forget(self, key: str) -> None:
        if document := self._documents.pop(key, None):
            self.channel.followers.remove(document.channel)
            if document.connection is not None:
                document.connection.leave()

    async def _open(self, key: str) -> None:
        grant: Grant = self.websocket.state.grant
        document = Document(self, key)
        try:
            if len(self._documents) >= DOCUMENTS:
                raise TooMany(f"{DOCUMENTS} documents are open on this socket, which is the limit.")
            path = clean_path(hocuspocus.path_of(key))
            if not path:
                raise InvalidInput("Name a file.")
            self._documents[key] = document
            self.channel.follow(document.channel)
            document.connection = await services(self.websocket).rooms.join(
                grant, path, document.channel, extended=True, first=self._admit(key)
            )
        except CloudIDEError as error:
            document.channel.close(error.close_code, error.message)

    def _admit(self, key: str) -> Callable[[Connection], None]:
        """What a client must hear before anything of the room."""

        def admit(connection: Connection) -> None:
            self.channel.send(hocuspocus.admitted(key, read_only=connection.read_only))

        return admit


async def join(
    websocket: WebSocket, channel: Channel
) -> tuple[Receive, Callable[[], Awaitable[None]]]:
    """The socket of many files; see `protocol/hocuspocus.py`."""
    socket = Socket(websocket, channel)
    return socket.receive, socket.leave
