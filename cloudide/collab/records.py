"""What the journal keeps of a room, as the rest of `collab` sees it."""

from __future__ import annotations

import msgspec
from pycrdt import Doc, Text

from cloudide.collab.text import document_of
from cloudide.protocol.sync import FileFormat


class Agreement(msgspec.Struct, frozen=True):
    """The state of the room that the disk holds, and the hash and format of the file's bytes."""

    hash: str
    upto: int
    extras: tuple[int, ...] = ()
    format: FileFormat = FileFormat()


class Intent(msgspec.Struct, frozen=True):
    hash: str
    upto: int


class Former(msgspec.Struct, frozen=True):
    """An agreement that held until `until` (seconds since the epoch)."""

    until: float
    agreement: Agreement


class Update(msgspec.Struct, frozen=True):
    seq: int
    author: str
    data: bytes


class RoomRecord(msgspec.Struct, frozen=True):
    """All the journal knows of a live room; apply `snapshot`, then `updates` after it in order."""

    id: int
    epoch: str
    format: FileFormat
    snapshot: bytes | None
    snapshot_seq: int
    updates: list[tuple[int, bytes]]
    agreement: Agreement
    intents: list[Intent]
    former: list[Former]
    merged: frozenset[str] = frozenset()
    retired_clients: frozenset[int] = frozenset()

    def state_at(self, upto: int, extras: tuple[int, ...] = ()) -> Doc[Text]:
        """The document as it was after update `upto`, with the later updates `extras`."""
        snapshot = [self.snapshot] if self.snapshot else []
        updates = [data for seq, data in self.updates if seq <= upto or seq in extras]
        document, _ = document_of(*snapshot, *updates)
        return document
