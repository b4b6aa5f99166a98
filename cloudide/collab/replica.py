"""The replica: the document at the state last agreed with the disk, and how that state changes.

What the room wrote, and what somebody else wrote, becomes agreed here: durable in the journal
first, then in memory. A change on disk becomes a diff against the agreed text, is applied to the
replica, and merges into the room as a CRDT update, so that it meets what people typed meanwhile as
another person's edit would. Hunks that the room already has, at the same place, are not applied
again.

Bytes on disk are told apart by hash: *agreed* (nothing happened), *an intent* (our own write, whose
answer was lost), *merged* (displaced by a write, and in the room since), *the room* (somebody wrote
what we have) or *foreign* (a change to merge).

A program that took its time between reading and writing is recognised, and its change taken from
what it had read (`ancestors.py`).
"""

from __future__ import annotations

import time
from functools import cached_property

import msgspec
import structlog
from pycrdt import Doc, Text

from cloudide.collab.ancestors import Ancestor, Ancestors, distance
from cloudide.collab.folding import Fold
from cloudide.collab.journal import Journal
from cloudide.collab.records import Agreement, Intent, RoomRecord
from cloudide.collab.room import Room
from cloudide.collab.text import (
    CONTENT,
    apply,
    content_hash,
    decode,
    diff,
    document_of,
    encode,
    is_stale,
    overlap,
)
from cloudide.errors import CloudIDEError
from cloudide.protocol.agent import FileContent
from cloudide.protocol.sync import FileFormat, Notice

_log = structlog.get_logger(__name__)


class Proposal(msgspec.Struct, frozen=True):
    """The room as it is to be written, and what is agreed when the disk holds it.

    `state`: the document's state that the write brings to the disk, at least what the replica lacks
    of it.
    """

    content: bytes
    agreement: Agreement
    state: bytes

    @property
    def intent(self) -> Intent:
        return Intent(self.agreement.hash, self.agreement.upto)


class Replica:
    """What is agreed about one room's file. Its methods must not overlap: one task calls them."""

    def __init__(self, room: Room, record: RoomRecord, journal: Journal) -> None:
        self.agreement = record.agreement
        self._room = room
        self._journal = journal
        self._intents = {
            intent.hash: _Intended(intent, record.state_at(intent.upto).get_update())
            for intent in record.intents
        }
        self._merged: set[str] = set(record.merged)
        self._record: RoomRecord | None = record  # until the document is needed
        self._folded = record.snapshot_seq
        # Numbers whose commit failed; the log has been going on without them.
        self._lost = room.seq - record.snapshot_seq - len(record.updates)
        self._ancestors = Ancestors(record)

    @cached_property
    def _document(self) -> Doc[Text]:
        record, self._record = self._record, None
        assert record is not None
        return record.state_at(record.agreement.upto, record.agreement.extras)

    @cached_property
    def _text(self) -> Text:
        return self._document.get(CONTENT, type=Text)

    @property
    def behind(self) -> bool:
        """Whether the room has something that the disk does not."""
        room = self._room
        return room.seq > self.agreement.upto or room.format != self.agreement.format

    def wrote(self, hash: str) -> bool:
        """Whether a content is what is agreed, or what a write is about to leave there."""
        return hash == self.agreement.hash or hash in self._intents

    def is_foreign(self, hash: str) -> bool:
        """Whether somebody else wrote a content, and the room does not have it."""
        room = self._room
        return (
            hash != self.agreement.hash
            and hash not in self._intents
            and hash not in self._merged
            and hash != content_hash(encode(str(room.text), room.format))
        )

    # ── what the room writes ────────────────────────────────────────────────────────────────────

    def proposal(self) -> Proposal:
        """What the room has now, to be written."""
        room = self._room
        state = room.doc.get_update(self._document.get_state())
        content = encode(str(room.text), room.format)
        return Proposal(
            content, Agreement(content_hash(content), room.seq, format=room.format), state
        )

    async def intend(self, proposal: Proposal) -> None:
        """This is going to be written; it is durable then, and with it everything before."""
        intent = proposal.intent
        await self._journal.intend(self._room.id, intent)
        self._intents[intent.hash] = _Intended(intent, proposal.state)

    async def withdraw(self, proposal: Proposal) -> None:
        """It was not written."""
        intent = proposal.intent
        await self._journal.withdraw(self._room.id, intent)
        self._intents.pop(intent.hash, None)

    async def agree(self, proposal: Proposal) -> None:
        """The disk holds it."""
        await self._agree(proposal.agreement, proposal.state)

    # ── what the disk holds ─────────────────────────────────────────────────────────────────────

    async def seen(self, hash: str, content: bytes, written: float) -> None:
        """The file holds `content`, which is not what was agreed, and was `written` then.

        Raises:
            NotEditable, TooLarge: it is no text that can be edited.
        """
        room = self._room
        text, format = decode(content, room.limits.editable)
        if intended := self._intents.get(hash):
            upto = intended.intent.upto
            await self._agree(Agreement(hash, upto, format=format), intended.state)
        elif hash == content_hash(encode(str(room.text), room.format)):
            await self._agree(Agreement(hash, room.seq, format=format), room.doc.get_update())
        else:
            room.format = format
            # A write whose answer was lost did happen if this was made from what it wrote.
            if intended := self._write_behind(text):
                await self._agree(*self._carried_out(intended))
            self._rebase(hash, text, written)
            if update := self._diff(text, self._document.get_update()):
                self._document.apply_update(update)
                await self._merge(update, self._agreement_after(hash, room.seq + 1))
            if str(room.text) == text:
                await self._agree(Agreement(hash, room.seq, format=format), room.doc.get_update())
            else:
                # The room is ahead of the disk; what it has more is written next.
                agreed = self.agreement
                await self._agree(Agreement(hash, agreed.upto, agreed.extras, format), b"")

    async def displaced(
        self, hash: str, text: str, format: FileFormat, disk: Proposal | FileContent
    ) -> None:
        """Somebody wrote `text` just before our write took its place: a change against what was
        agreed then. Afterwards the disk holds what we wrote.

        `disk`: that write. Where it is not known which one it was, what the file is now: the write
        is the one that it holds, or from which somebody has made what it holds.
        """
        room = self._room
        if format != self.agreement.format:
            room.format = format  # they converted the file; the next write does it again
        base = self._ancestor(hash, text, time.time())
        before = base.state if base else self._document.get_update()
        made_from = base.agreement if base else self.agreement
        update = self._diff(text, before)
        if isinstance(disk, Proposal):
            agreement, state = disk.agreement, disk.state
        else:
            agreement, state = self._interrupted(disk)
        if update is None:
            await self._agree(agreement, state, hash)
            return
        # A program may have read what was displaced, just before it went, to write it yet.
        was = Agreement(hash, made_from.upto, (*made_from.extras, room.seq + 1), format)
        await self._merge(update, agreement, was)
        document, content = document_of(before, update)
        self._ancestors.remember(was, str(content), document.get_update())
        if state:
            self._document.apply_update(state)

    def _interrupted(self, disk: FileContent) -> tuple[Agreement, bytes]:
        """What is agreed because of a write that left something behind, and its state."""
        intended = self._intents.get(disk.hash)
        if intended is None and disk.content is not None:
            text, _ = decode(disk.content, self._room.limits.editable)
            intended = self._write_behind(text)
        return (self.agreement, b"") if intended is None else self._carried_out(intended)

    def _write_behind(self, disk: str) -> _Intended | None:
        """The write whose answer was lost and from which `disk` was made; None: from what is
        agreed."""
        if not self._intents:
            return None
        agreed = str(self._text)
        nearest, found = distance(agreed, disk), None
        for intended in self._intents.values():
            _, written = document_of(self._document.get_update(), intended.state)
            if is_stale(agreed, str(written), disk):
                continue  # there is no trace of it, however alike they look
            if (away := distance(str(written), disk)) < nearest:
                nearest, found = away, intended
        return found

    def _carried_out(self, intended: _Intended) -> tuple[Agreement, bytes]:
        intent = intended.intent
        agreement = Agreement(intent.hash, intent.upto, format=self.agreement.format)
        return agreement, intended.state

    def _rebase(self, hash: str, disk: str, written: float) -> None:
        """Go back to an earlier agreement if `disk` was made from that one."""
        if ancestor := self._ancestor(hash, disk, written):
            self.agreement = msgspec.structs.replace(
                ancestor.agreement, hash=self.agreement.hash, format=self.agreement.format
            )
            self._document, self._text = document_of(ancestor.state)

    def _ancestor(self, hash: str, disk: str, written: float) -> Ancestor | None:
        return self._ancestors.of(hash, disk, str(self._text), written)

    def _diff(self, disk: str, base: bytes) -> bytes | None:
        """The update that brings the state `base` to `disk`, without what the room has already.

        It is made on a document of its own, whose client id is fresh. None: nothing is left.
        """
        room = self._room
        copy, text = document_of(base)
        agreed = str(text)
        hunks = diff(agreed, disk)
        mine = diff(agreed, str(room.text))
        have = set(mine)
        wanted = [hunk for hunk in hunks if hunk not in have]
        if not wanted:
            return None
        if overlap(wanted, mine):
            room.tell(
                Notice(
                    "The file changed on disk where somebody was typing. Both versions were kept; "
                    "look at the place."
                )
            )
        before = copy.get_state()
        with copy.transaction():
            apply(wanted, text, agreed)
        return copy.get_update(before)

    # ── agreement ───────────────────────────────────────────────────────────────────────────────

    async def _merge(
        self, update: bytes, agreement: Agreement, displaced: Agreement | None = None
    ) -> None:
        """Put a change from the disk into the room; the agreement becomes durable with it."""
        await self._room.merge(update, agreement, displaced)
        self._ancestors.forget()  # only what the room wrote may be unknown to a program
        self._settle(agreement, displaced.hash if displaced else "")

    def _agreement_after(self, hash: str, seq: int) -> Agreement:
        """What is agreed when the disk has `hash` because of the change number `seq`."""
        previous = self.agreement
        if previous.upto == seq - 1:
            return Agreement(hash, seq, format=self._room.format)
        return Agreement(hash, previous.upto, (*previous.extras, seq), self._room.format)

    async def _agree(self, agreement: Agreement, state: bytes, merged: str = "") -> None:
        await self._journal.agree(self._room.id, agreement, merged)
        if state:
            before = self._document.get_update()
            self._ancestors.remember(self.agreement, str(self._text), before)
            self._document.apply_update(state)
        self._settle(agreement, merged)

    def _settle(self, agreement: Agreement, merged: str) -> None:
        self.agreement = agreement
        self._intents.clear()
        self._merged = {merged} - {""}

    async def fold(self) -> None:
        """Fold the log when it has grown, whatever the disk holds; see `folding.py`."""
        room = self._room
        if not room.log_grown:
            return
        bases = self._ancestors.since(self._folded)
        for intended in self._intents.values():
            if (upto := intended.intent.upto) < self._folded:
                document, _ = document_of(self._document.get_update(), intended.state)
                bases[upto] = document.get_update()
        if self.agreement.upto < self._folded:
            bases[self.agreement.upto] = self._document.get_update()
        rows = room.seq - self._folded - self._lost
        fold = Fold(room.seq, room.doc.get_update(), rows, bases)
        text = str(room.text)
        room.log_folded()
        try:
            if await self._journal.fold(room.id, fold, text):
                self._folded, self._lost = fold.seq, 0
        except CloudIDEError as error:
            _log.warning("disk.not_folded", room=room.id, error=error.message)


class _Intended(msgspec.Struct, frozen=True):
    """An intent, and the document's state that the write was to bring to the disk."""

    intent: Intent
    state: bytes
