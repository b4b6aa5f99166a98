"""The framing of Hocuspocus: the messages of y-websocket for many documents on one socket.

Every frame is the document's name and a message, as lib0 text and a number:

    0  sync               as in `sync.py`
    1  awareness          as in `sync.py`
    2  authentication     0 token [version]: to the server; 1 reason: denied; 2 scope: admitted
    3  query awareness    as in `sync.py`
    4  sync reply         a sync message that asks for no answer of the same kind
    5  stateless          text, for whoever listens
    7  close              reason: this document only; the socket stays
    8  sync status        1: one sync message of the client was taken

The client opens each document with an authentication message; who it is was settled when the
socket was opened, and its token is not looked at. After `admitted` it sends step 1 and awareness.
A name may have a part behind a zero, by which the client tells several editors of one document
apart; answers carry it.

Sync messages are answered with a status when they are durable, not when they have arrived: a
client that shows "saved" by it tells the truth. What `cloudide.collab.v1` adds (the file's epoch,
the state of the disk, notices) is sent as stateless JSON.

Source: `MessageReceiver.ts`, `ClientConnection.ts` and `routingKey.ts` of Hocuspocus 4.
"""

from __future__ import annotations

import msgspec

from cloudide.protocol.varint import MalformedFrame, Reader, write_text, write_uint

AUTHENTICATION, SYNC_REPLY, STATELESS, CLOSE, SYNC_STATUS = 2, 4, 5, 7, 8
TOKEN, DENIED, ADMITTED = 0, 1, 2

_MAX_NAME = 4096 + 64  # bytes: a path, and what tells editors apart
_SYNC = b"\x00"
_SAME = (0, 1, 3)  # messages that are the same without the name


class Open(msgspec.Struct, frozen=True):
    """The client asks for a document."""


class Close(msgspec.Struct, frozen=True):
    """The client lets go of a document."""


class Pass(msgspec.Struct, frozen=True):
    """A message for the document's room, as `sync.read_message` reads it."""

    frame: bytes


class Ignored(msgspec.Struct, frozen=True):
    """A message that has no meaning here, such as a stateless one."""


Content = Open | Close | Pass | Ignored


def read_frame(frame: bytes) -> tuple[str, Content]:
    """A frame's document key and what it says.

    Raises:
        MalformedFrame: it is not a frame of this protocol.
    """
    reader = Reader(frame)
    key = reader.text()
    if not key or len(key) > _MAX_NAME:
        raise MalformedFrame("A message names no document, or one with a very long name.")
    start = reader.position
    kind = reader.uint()
    if kind in _SAME:
        return key, Pass(frame[start:])
    if kind == SYNC_REPLY:
        return key, Pass(_SYNC + frame[reader.position :])
    if kind == AUTHENTICATION:
        if reader.uint() != TOKEN:
            raise MalformedFrame("Only a token opens a document.")
        reader.text()
        return key, Open()
    if kind == CLOSE:
        return key, Close()
    if kind == STATELESS:
        return key, Ignored()
    raise MalformedFrame("A message is of an unknown kind.")


def path_of(key: str) -> str:
    """The document's name in a key."""
    return key.partition("\0")[0]


def message(key: str, frame: bytes) -> bytes:
    """A message of `sync.py`, for a document."""
    return write_text(key) + frame


def admitted(key: str, *, read_only: bool) -> bytes:
    scope = "readonly" if read_only else "read-write"
    return write_text(key) + bytes((AUTHENTICATION, ADMITTED)) + write_text(scope)


def denied(key: str, reason: str) -> bytes:
    return write_text(key) + bytes((AUTHENTICATION, DENIED)) + write_text(reason)


def closed(key: str, reason: str) -> bytes:
    return write_text(key) + write_uint(CLOSE) + write_text(reason)


def taken(key: str) -> bytes:
    """One sync message of the client is durable."""
    return write_text(key) + bytes((SYNC_STATUS, 1))


def stateless(key: str, payload: str) -> bytes:
    return write_text(key) + write_uint(STATELESS) + write_text(payload)
