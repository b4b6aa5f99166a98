"""The y-websocket protocol as this server speaks it, and its extension `cloudide.collab.v1`.

Every binary frame is exactly one message, a lib0 number and a body:

    0 0  sync step 1     byte string: a state vector    "send me what I lack"
    0 1  sync step 2     byte string: an update         the answer
    0 2  update          byte string: an update         a change, as it happens
    1    awareness       byte string: count, then for each client its id, clock and state as JSON
    3    query awareness nothing                        "send me everyone's state"
    64   extension       text: a JSON object            only with subprotocol `cloudide.collab.v1`

A plain client sends step 1 and its awareness on opening. The server sends its own step 1, answers
step 2, and sends all awareness states; from then on both send updates. The server never sends
message 2 (permission denied): a client only logs it, so a refused client is closed with a 44xx code
instead, which makes it stop.

The extension adds, from server to client: `hello` (first message: epoch, read-only or not, file
format), `ack` (how many sync messages of this socket are durable), `disk` (how the file in the
container stands to the document), `moved` (the file's new path) and `notice`.

`read_message` bounds every length before anything is built from it, and refuses text after the
message's end: it is the only door between the network and the CRDT library. Left out on purpose:
the y-protocols authentication message, sub-documents and version 2 updates.

Source: `y-protocols/PROTOCOL.md`, `sync.js` and `awareness.js` of y-protocols 1.0.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cloudide.errors import Denied
from cloudide.protocol.updates import EMPTY_UPDATE, UpdateShape, read_state_vector, read_update
from cloudide.protocol.varint import MalformedFrame, Reader, write_bytes, write_text, write_uint

SUBPROTOCOL = "cloudide.collab.v1"

SYNC, AWARENESS, QUERY_AWARENESS, EXTENSION = 0, 1, 3, 64
STEP_1, STEP_2, UPDATE = 0, 1, 2
MAX_AWARENESS_ENTRIES = 64
# A removal counts one up, and what lies above 2**53 - 1 breaks whoever reads it.
MAX_AWARENESS_CLOCK = 2**52

_UPDATE_HEAD = bytes((SYNC, UPDATE))
_READ_ONLY = "You have read-only access to this workspace; the edit was not taken."

EMPTY_AWARENESS = b"\x01\x01\x00"  # keeps a y-websocket client from thinking the line is dead


class SyncStep1(msgspec.Struct, frozen=True):
    state_vector: bytes
    clocks: dict[int, int]


class SyncUpdate(msgspec.Struct, frozen=True):
    """A step 2 or an update: both carry changes and both count for acknowledgements."""

    update: bytes
    shape: UpdateShape
    answer: bool = False  # a step 2


class AwarenessEntry(msgspec.Struct, frozen=True):
    """One client's state; None says that it is gone."""

    client: int
    clock: int
    state: dict[str, Any] | None


class Awareness(msgspec.Struct, frozen=True):
    entries: list[AwarenessEntry]


class QueryAwareness(msgspec.Struct, frozen=True):
    pass


ClientMessage = SyncStep1 | SyncUpdate | Awareness | QueryAwareness


def read_message(
    frame: bytes, awareness_limit: int = 4096, *, read_only: bool = False
) -> ClientMessage:
    """Decode one frame from a client; one that is `read_only` gets no change past here.

    Every client answers step 1. A read-only one has nothing to add, or must be told; the deletions
    in its answer cannot be told from known ones, so nothing of it is ever handed on.

    Raises:
        MalformedFrame: it is not a message of this protocol, or larger than its kind may be.
        Denied: a change from a client that is read-only.
    """
    if frame[:2] == _UPDATE_HEAD and 3 < len(frame) < 131 and len(frame) == 3 + frame[2]:
        # The hot path: a short update, as each keystroke is.
        if read_only:
            raise Denied(_READ_ONLY)
        body = frame[3:]
        return SyncUpdate(body, read_update(body))
    reader = Reader(frame)
    kind = reader.uint()
    if kind == SYNC:
        step = reader.uint()
        body = reader.buffer()
        reader.finish()
        if step == STEP_1:
            return SyncStep1(body, read_state_vector(body))
        if step in (STEP_2, UPDATE):
            shape = read_update(body)
            if not read_only:
                return SyncUpdate(body, shape, step == STEP_2)
            if step == STEP_2 and not shape.ends:
                return SyncUpdate(EMPTY_UPDATE, UpdateShape(), answer=True)
            raise Denied(_READ_ONLY)
        raise MalformedFrame("A sync message is of an unknown kind.")
    if kind == AWARENESS:
        body = reader.buffer()
        reader.finish()
        return Awareness(_read_awareness(body, awareness_limit))
    if kind == QUERY_AWARENESS:
        reader.finish()
        return QueryAwareness()
    raise MalformedFrame("A message is of an unknown kind.")


def _read_awareness(body: bytes, limit: int) -> list[AwarenessEntry]:
    reader = Reader(body)
    count = reader.count(3)
    if count > MAX_AWARENESS_ENTRIES:
        raise MalformedFrame("An awareness message names too many clients.")
    entries: list[AwarenessEntry] = []
    for _ in range(count):
        client = reader.uint()
        clock = reader.uint()
        encoded = reader.buffer()
        if clock > MAX_AWARENESS_CLOCK:
            raise MalformedFrame("An awareness clock is too large.")
        if len(encoded) > limit:
            raise MalformedFrame(f"An awareness state is larger than {limit} bytes.")
        try:
            state = msgspec.json.decode(encoded, type=dict[str, Any] | None)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedFrame("An awareness state is not a JSON object.") from error
        entries.append(AwarenessEntry(client, clock, state))
    reader.finish()
    return entries


def step_1(state_vector: bytes) -> bytes:
    return b"\x00\x00" + write_bytes(state_vector)


def step_2(update: bytes) -> bytes:
    return b"\x00\x01" + write_bytes(update)


def update(update: bytes) -> bytes:
    return b"\x00\x02" + write_bytes(update)


def awareness(entries: list[AwarenessEntry]) -> bytes:
    parts = [write_uint(len(entries))]
    for entry in entries:
        parts.append(write_uint(entry.client))
        parts.append(write_uint(entry.clock))
        parts.append(write_bytes(msgspec.json.encode(entry.state)))
    return b"\x01" + write_bytes(b"".join(parts))


# ── the extension ───────────────────────────────────────────────────────────────────────────────


class Extension(msgspec.Struct, tag_field="type", omit_defaults=True):
    """Base of the messages that only a client of `cloudide.collab.v1` receives."""

    def frame(self) -> bytes:
        return write_uint(EXTENSION) + write_text(msgspec.json.encode(self).decode())


class FileFormat(msgspec.Struct, frozen=True):
    """How the file is written on disk; the document itself holds only text with `\\n`."""

    encoding: str = "utf-8"
    bom: bool = False
    eol: str = "\n"


class Hello(Extension, tag="hello"):
    epoch: str
    read_only: bool
    format: FileFormat
    reason: str = ""


class Ack(Extension, tag="ack"):
    """The first `count` steps 2 and updates of this socket are durable."""

    count: int

    def frame(self) -> bytes:
        # One for each keystroke: without a JSON encoder.
        body = b'{"type":"ack","count":%d}' % self.count
        return bytes((EXTENSION, len(body))) + body


class DiskState(Extension, tag="disk"):
    """`state` is one of clean, writing, failed, deleted, offline."""

    state: str
    detail: str = ""


class Moved(Extension, tag="moved"):
    """The file has another path now, and the connection goes on."""

    path: str


class Notice(Extension, tag="notice"):
    detail: str
