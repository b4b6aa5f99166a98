"""What the journal keeps of a room, as the rest of `collab` sees it."""

from __future__ import annotations

import msgspec
from pycrdt import Doc, Text

from cloudide.collab.text import document_of
from cloudide.protocol.sync import FileFormat
from cloudide.protocol.updates import read_state_vector


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


class Generation(msgspec.Struct, frozen=True):
    """The snapshot before the present one (None: the beginning), and the updates between them."""

    snapshot: bytes | None
    seq: int
    updates: list[tuple[int, bytes]]


class RoomRecord(msgspec.Struct, frozen=True):
    """All the journal knows of a live room; apply `snapshot`, then `updates` after it in order.

    `previous` and `bases` are there when something refers to a state before the snapshot; see
    `folding.py`.
    """

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
    previous: Generation | None = None
    bases: dict[int, bytes] = {}

    def state_at(self, upto: int, extras: tuple[int, ...] = ()) -> Doc[Text]:
        """The document as it was after update `upto`, with the later updates `extras`."""
        base, since, log = self.snapshot, self.snapshot_seq, self.updates
        if self.previous is not None and upto < self.snapshot_seq:
            base, since = self.previous.snapshot, self.previous.seq
            log = self.previous.updates + self.updates
        if upto in self.bases:
            base, since = self.bases[upto], upto
        elif upto < since:
            raise LookupError(f"room {self.id}: the state after update {upto} was not kept")
        updates = [data for seq, data in log if since < seq <= upto or seq in extras]
        document, _ = document_of(*([base] if base else []), *updates)
        return document

    def clients(self) -> set[int]:
        """Every client id that ever wrote in this document."""
        last = self.updates[-1][0] if self.updates else self.snapshot_seq
        return set(read_state_vector(self.state_at(last).get_state()))
