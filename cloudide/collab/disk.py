"""The disk as a peer of a room: the file in the container is one more replica of the document.

`DiskPeer` holds a second document, the *replica*, at the state last agreed with the disk.

- A change on disk becomes a diff against the agreed text, is applied to the replica, and merges
  into the room as a CRDT update, so that it meets what people typed meanwhile as another person's
  edit would. Hunks that the room already has, at the same place, are not applied again.
- A change in the room is written back by compare-and-swap (see `WriteFile`). Before each write an
  intent is journalled, and with it everything before: the disk never sees what the journal has
  not. What the write displaced, if it is not what was agreed, is merged before it goes.

A program that took its time between reading and writing is recognised, and its change taken from
what it had read (`ancestors.py`).

Bytes on disk are told apart by hash: *agreed* (nothing happened), *an intent* (our own write, whose
answer was lost), *the room* (somebody wrote what we have) or *foreign* (a change to merge).

One task runs all this for a room, so that its steps never overlap.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import cached_property

import msgspec
import structlog
from pycrdt import Doc, Text

from cloudide.agents.hub import Agents
from cloudide.collab.ancestors import Ancestor, Ancestors, distance
from cloudide.collab.folding import Fold
from cloudide.collab.journal import Journal
from cloudide.collab.records import Agreement, Intent, RoomRecord
from cloudide.collab.room import Room, RoomState
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
from cloudide.collab.writeback import WriteBack
from cloudide.errors import (
    AgentUnavailable,
    CloudIDEError,
    Conflict,
    EpochChanged,
    NotEditable,
    NotFound,
    TooLarge,
    Unavailable,
)
from cloudide.protocol.agent import (
    FileContent,
    ReadFile,
    ReleaseSwap,
    Stat,
    Swap,
    WriteFile,
    Written,
)
from cloudide.protocol.sync import DiskState, Notice

_log = structlog.get_logger(__name__)

RETRY_SECONDS = 2.0
SAVING_SECONDS = 0.25  # a file that is gone for less than this is being saved by a program


class DiskPeer:
    """The disk's side of one room. `run` is its task; the other methods only wake it."""

    def __init__(
        self,
        room: Room,
        record: RoomRecord,
        agents: Agents,
        journal: Journal,
        clock: WriteBack,
    ) -> None:
        self.room = room
        self.agreement = record.agreement
        self.stat: Stat | None = None
        self.deleted = False
        self.offline = False  # the agent was out of reach when it was last needed
        self.on_replaced: Callable[[CloudIDEError], None] = lambda error: None
        # Look whether the file, which is not at its path, was renamed; True: the room is there now.
        self.follow: Callable[[], Awaitable[bool]] = _nowhere
        self._agents = agents
        self._journal = journal
        self._clock = clock
        self._intents = {
            intent.hash: _Intended(intent, record.state_at(intent.upto).get_update())
            for intent in record.intents
        }
        self._merged: set[str] = set(record.merged)
        self._record: RoomRecord | None = record  # until the replica is needed
        self._folded = record.snapshot_seq
        # Numbers whose commit failed; the log has been going on without them.
        self._lost = room.seq - record.snapshot_seq - len(record.updates)
        self._ancestors = Ancestors(record)
        self._swaps = True  # look, once, for what an interrupted write left behind
        self._look = False
        self._first_edit = 0.0
        self._last_edit = 0.0
        self._retry_at = 0.0
        self._edited_since_delete = False
        self._missing_since = 0.0  # when there was no file for the first time, or 0
        self._restored = False
        self._wake = asyncio.Event()
        self._rounds: list[asyncio.Future[None]] = []
        self._ended = False

    @cached_property
    def _replica(self) -> Doc[Text]:
        """The document at the state last agreed with the disk."""
        record, self._record = self._record, None
        assert record is not None
        return record.state_at(record.agreement.upto, record.agreement.extras)

    @cached_property
    def _replica_text(self) -> Text:
        return self._replica.get(CONTENT, type=Text)

    @property
    def dirty(self) -> bool:
        """Whether the room has something that the disk does not."""
        room = self.room
        return (
            room.seq > self.agreement.upto or room.format != self.agreement.format or self._restored
        )

    def edited(self) -> None:
        """The room changed."""
        self._edited_since_delete = True
        if self.offline:
            if self.room.log_grown:
                self._wake.set()
            return  # whoever sees the agent again gives the hint
        self._last_edit = asyncio.get_running_loop().time()
        if not self._first_edit:
            self._first_edit = self._last_edit
            self._clock.add(self)
        if self.room.disk_state.state == "clean":
            self.room.tell(DiskState("writing"))

    async def restore(self) -> None:
        """Make a deleted file anew, with the room's text.

        Raises:
            CloudIDEError: it could not be written.
        """
        self._look = True
        await self._next_round()
        if self.deleted:
            self._edited_since_delete = self._restored = True
        await self.flush()

    def reconnected(self) -> None:
        """The agent is there (again); a write may have been cut off when it went."""
        self._swaps = True
        self.hint()

    def hint(self) -> None:
        """The file may have changed; look."""
        self._look = True
        self._retry_at = 0.0
        self._wake.set()

    async def look(self) -> None:
        """Look at the file now and merge what changed.

        Raises:
            AgentUnavailable, NotFound, NotEditable, TooLarge: as the file is.
        """
        await self._pull()

    async def flush(self) -> None:
        """Write the room to the disk now.

        Raises:
            CloudIDEError: it could not be written; the text stays in the journal.
        """
        while self.dirty:
            await self._next_round()
            if self.deleted and self.dirty:
                raise NotFound("The file was deleted in the workspace; edit it to make it anew.")

    async def _next_round(self) -> None:
        if self._ended:
            raise Unavailable("The document is being reloaded; try again shortly.")
        round_: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._rounds.append(round_)
        self._retry_at = 0.0
        self._wake.set()
        await round_

    # ── the task ────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        if self.dirty:
            self.edited()
        try:
            await self._fold()
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._round()
        finally:
            self._ended = True
            self._clock.remove(self)
            ended = Unavailable("The document is being reloaded; try again shortly.")
            _finish(self._rounds, ended)

    def when(self) -> float | None:
        """When the next round is to be run; None: not before something happens."""
        if self._look:
            return self._retry_at
        if not self.dirty:
            self._first_edit = 0.0  # what changed came from the disk
        if not self._first_edit:
            return None
        limits = self.room.limits
        quiet = self._last_edit + limits.write_back_delay
        return max(min(quiet, self._first_edit + limits.write_back_limit), self._retry_at)

    def wake(self) -> None:
        """Run a round now."""
        self._wake.set()

    async def _round(self) -> None:
        looked, self._look = self._look, False
        self.offline = False
        rounds, self._rounds = self._rounds, []
        error: CloudIDEError | None = None
        try:
            if looked:
                await self._pull(patient=not rounds)
            if self.dirty and (self.deleted or not self._missing_since):
                await self._push()
        except AgentUnavailable as unavailable:
            error = unavailable
            self.offline = True
            self._look = False
            self._first_edit = 0.0
            self.room.tell(DiskState("offline", unavailable.message))
        except (NotEditable, TooLarge, EpochChanged) as replaced:
            error = replaced
            self.on_replaced(replaced)
        except CloudIDEError as failure:
            error = failure
            self._fail(failure)
        except Exception:
            _log.exception("disk.round_failed", room=self.room.id)
            error = Unavailable("The file could not be written; it is tried again.")
            self._fail(error)
        except BaseException:
            self._rounds += rounds  # `run` ends, and with it they do
            raise
        _finish(rounds, error)
        await self._fold()

    def _fail(self, error: CloudIDEError) -> None:
        """Say so, and try again in a while."""
        self.room.tell(DiskState("failed", error.message))
        self._retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
        self._look = True
        self._clock.add(self)

    # ── from the disk ───────────────────────────────────────────────────────────────────────────

    async def _pull(self, patient: bool = False) -> None:
        """Look at the file. `patient`: one that is missing may be there again in a moment."""
        room = self.room
        agent = self._agents.agent(room.workspace)
        try:
            content = await agent.call(
                ReadFile(
                    room.path,
                    limit=room.limits.editable,
                    known=self.agreement.hash,
                    swaps=self._swaps,
                )
            )
        except NotFound:
            await self._missing(patient)
            return
        self._missing_since = 0.0
        self.stat = content.stat
        returned, self.deleted = self.deleted, False
        if returned and self._is_another(content.hash):
            raise EpochChanged(
                "This file was deleted and made anew since you opened it. Reload it; text that was "
                "not saved is offered back."
            )
        await self._recover(content)
        if content.hash != self.agreement.hash:
            if content.content is None:
                raise Unavailable("The workspace sent a file without its content.")
            await self._seen(content.hash, content.content, content.stat.mtime_ns / 1e9)
        if returned or not self.dirty:
            room.tell(DiskState("writing" if self.dirty else "clean"))

    async def _missing(self, patient: bool) -> None:
        """There is no file: not yet again, somewhere else, or not any more."""
        now = asyncio.get_running_loop().time()
        self._missing_since = self._missing_since or now
        if patient and now < self._missing_since + SAVING_SECONDS:
            # Many programs save by moving the old file away and making a new one.
            self._retry_at = self._missing_since + SAVING_SECONDS
            self._look = True
            self._clock.add(self)
        elif await self.follow():
            await self._pull()
        elif not self.deleted:
            self.deleted = True
            self._edited_since_delete = False
            self.room.tell(DiskState("deleted", "The file was deleted in the workspace."))

    def _is_another(self, hash: str) -> bool:
        """Whether a file that was deleted and is there again is another one, with its own past.

        One that comes back as it was is the same. What people typed since it went belongs to it,
        and is merged.
        """
        return self._classify(hash) == "foreign" and not self.dirty

    async def _seen(self, hash: str, content: bytes, written: float) -> None:
        """The file holds `content`, which is not what was agreed, and was `written` then."""
        room = self.room
        text, format = decode(content, room.limits.editable)
        if intended := self._intents.get(hash):
            upto = intended.intent.upto
            await self._agree(Agreement(hash, upto, format=format), intended.state)
        elif hash == content_hash(encode(str(room.text), room.format)):
            await self._agree(Agreement(hash, room.seq, format=format), room.doc.get_update())
        else:
            room.format = format
            await self._settle_intent(text)
            self._rebase(hash, text, written)
            if update := self._diff(text, self._replica.get_update()):
                self._replica.apply_update(update)
                self._merge(update, self._agreement_after(hash, room.seq + 1))
            if str(room.text) == text:
                await self._agree(Agreement(hash, room.seq, format=format), room.doc.get_update())
            else:
                # The room is ahead of the disk; what it has more is written next.
                agreed = self.agreement
                await self._agree(Agreement(hash, agreed.upto, agreed.extras, format), b"")

    async def _recover(self, content: FileContent) -> None:
        """Merge what an interrupted write displaced and nobody has merged since."""
        if not self._swaps:
            return
        for swap in content.swaps:
            if self._classify(content_hash(swap.content)) == "foreign":
                await self._merge_displaced(swap, content.hash, content.content)
            await self._release(swap.name)
        self._swaps = False

    # ── to the disk ─────────────────────────────────────────────────────────────────────────────

    async def _push(self) -> None:
        room = self.room
        self._first_edit = 0.0
        if self._swaps:
            await self._pull()
        if self.deleted and not self._edited_since_delete:
            return
        agent = self._agents.agent(room.workspace)
        upto, text, format = room.seq, str(room.text), room.format
        state = room.doc.get_update(self._replica.get_state())
        content = encode(text, format)
        hash = content_hash(content)
        agreement = Agreement(hash, upto, format=format)
        if hash == self.agreement.hash and not self.deleted:
            await self._agree(agreement, state)
            if not self.dirty:
                room.tell(DiskState("clean"))
            return
        intent = Intent(hash, upto)
        await self._journal.intend(room.id, intent)
        self._intents[hash] = _Intended(intent, state)
        expected = "" if self.deleted else self.agreement.hash
        try:
            written = await agent.call(
                WriteFile(room.path, content, expected=expected, parents=self.deleted)
            )
        except AgentUnavailable:
            raise  # it may have happened all the same: the intent stands
        except (NotFound, Conflict):
            # Deleted, made anew or changed in between, and nothing was written: look again first.
            await self._withdraw(intent)
            self.hint()
            return
        except CloudIDEError:
            await self._withdraw(intent)
            raise
        self.deleted = self._restored = False
        self.stat = written.stat
        await self._written(written, agreement, state)
        if not self.dirty:
            room.tell(DiskState("clean"))

    async def _written(self, written: Written, agreement: Agreement, state: bytes) -> None:
        swap = written.displaced
        if swap is None:
            await self._agree(agreement, state)
            return
        self._swaps = True  # until it is released
        if self._classify(content_hash(swap.content)) == "foreign":
            await self._merge_displaced(swap, agreement.hash, None, agreement, state)
        else:
            await self._agree(agreement, state)
        await self._release(swap.name)
        self._swaps = False

    async def _merge_displaced(
        self,
        swap: Swap,
        disk_hash: str,
        disk: bytes | None,
        agreement: Agreement | None = None,
        state: bytes | None = None,
    ) -> None:
        """Somebody wrote `swap` just before our write took its place: a change against what was
        agreed then. Afterwards the disk holds what we wrote.

        Where it is not known which write that was (`agreement` and `state`), it is the one that the
        disk holds now, or that somebody has made of it what it holds (`disk`).
        """
        room = self.room
        try:
            text, format = decode(swap.content, room.limits.editable)
        except (NotEditable, TooLarge):
            # Not text any more: put it back, and let the room end as for any replaced file.
            agent = self._agents.agent(room.workspace)
            await agent.call(WriteFile(room.path, swap.content, expected=disk_hash))
            await self._release(swap.name)
            raise
        if format != self.agreement.format:
            room.format = format  # they converted the file; the next write does it again
        merged = content_hash(swap.content)
        base = self._ancestor(merged, text, time.time())
        before = base.state if base else self._replica.get_update()
        made_from = base.agreement if base else self.agreement
        update = self._diff(text, before)
        if agreement is None or state is None:
            intended = self._intents.get(disk_hash)
            if intended is None and disk is not None:
                intended = self._write_behind(decode(disk, room.limits.editable)[0])
            if intended is not None:
                agreement, state = self._carried_out(intended), intended.state
            else:
                agreement, state = self.agreement, b""
        if update is None:
            await self._agree(agreement, state, merged)
            return
        self._merge(update, agreement, merged)
        # A program may have read what was displaced, just before it went, to write it yet.
        extras = (*made_from.extras, room.seq)
        displaced, content = document_of(before, update)
        self._ancestors.remember(
            Agreement(merged, made_from.upto, extras, format), str(content), displaced.get_update()
        )
        if state:
            self._replica.apply_update(state)

    # ── agreement ───────────────────────────────────────────────────────────────────────────────

    def _classify(self, hash: str) -> str:
        if hash == self.agreement.hash:
            return "agreed"
        if hash in self._intents:
            return "intent"
        if hash in self._merged:
            return "merged"
        room = self.room
        return "room" if hash == content_hash(encode(str(room.text), room.format)) else "foreign"

    def _remember(self) -> None:
        """What is agreed is about to change."""
        state = self._replica.get_update()
        self._ancestors.remember(self.agreement, str(self._replica_text), state)

    async def _settle_intent(self, disk: str) -> None:
        """A write whose answer was lost did happen if `disk` was made from what it wrote."""
        if intended := self._write_behind(disk):
            await self._agree(self._carried_out(intended), intended.state)

    def _write_behind(self, disk: str) -> _Intended | None:
        """The write whose answer was lost and from which `disk` was made; None: from what is
        agreed."""
        if not self._intents:
            return None
        agreed = str(self._replica_text)
        nearest, found = distance(agreed, disk), None
        for intended in self._intents.values():
            _, written = document_of(self._replica.get_update(), intended.state)
            if is_stale(agreed, str(written), disk):
                continue  # there is no trace of it, however alike they look
            if (away := distance(str(written), disk)) < nearest:
                nearest, found = away, intended
        return found

    def _carried_out(self, intended: _Intended) -> Agreement:
        intent = intended.intent
        return Agreement(intent.hash, intent.upto, format=self.agreement.format)

    def _rebase(self, hash: str, disk: str, written: float) -> None:
        """Go back to an earlier agreement if `disk` was made from that one."""
        if ancestor := self._ancestor(hash, disk, written):
            self.agreement = msgspec.structs.replace(
                ancestor.agreement, hash=self.agreement.hash, format=self.agreement.format
            )
            self._replica, self._replica_text = document_of(ancestor.state)

    def _ancestor(self, hash: str, disk: str, written: float) -> Ancestor | None:
        return self._ancestors.of(hash, disk, str(self._replica_text), written)

    def _diff(self, disk: str, base: bytes) -> bytes | None:
        """The update that brings the state `base` to `disk`, without what the room has already.

        It is made on a document of its own, whose client id is fresh. None: nothing is left.
        """
        room = self.room
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

    def _merge(self, update: bytes, agreement: Agreement, merged: str = "") -> None:
        """Put a change from the disk into the room; the agreement becomes durable with it."""
        self.room.merge(update, agreement, merged)
        self._ancestors.forget()  # only what the room wrote may be unknown to a program
        self._settle(agreement, merged)

    def _agreement_after(self, hash: str, seq: int) -> Agreement:
        """What is agreed when the disk has `hash` because of the change number `seq`."""
        previous = self.agreement
        if previous.upto == seq - 1:
            return Agreement(hash, seq, format=self.room.format)
        return Agreement(hash, previous.upto, (*previous.extras, seq), self.room.format)

    async def _agree(self, agreement: Agreement, state: bytes, merged: str = "") -> None:
        await self._journal.agree(self.room.id, agreement, merged)
        if state:
            self._remember()
            self._replica.apply_update(state)
        self._settle(agreement, merged)

    def _settle(self, agreement: Agreement, merged: str) -> None:
        self.agreement = agreement
        self._intents.clear()
        self._merged = {merged} - {""}

    async def _withdraw(self, intent: Intent) -> None:
        await self._journal.withdraw(self.room.id, intent)
        self._intents.pop(intent.hash, None)

    async def _release(self, name: str) -> None:
        # Only when what it held is durable may the last copy of it go.
        await self._journal.barrier()
        if self.room.state is RoomState.CLOSED:
            raise Unavailable("The document is being reloaded; try again shortly.")
        await self._agents.agent(self.room.workspace).call(ReleaseSwap(self.room.path, name))

    async def _fold(self) -> None:
        """Fold the log when it has grown, whatever the disk holds; see `folding.py`.

        It is the task's own step, so that no agreement and no intent changes meanwhile.
        """
        room = self.room
        if not room.log_grown:
            return
        bases = self._ancestors.since(self._folded)
        for intended in self._intents.values():
            if (upto := intended.intent.upto) < self._folded:
                document, _ = document_of(self._replica.get_update(), intended.state)
                bases[upto] = document.get_update()
        if self.agreement.upto < self._folded:
            bases[self.agreement.upto] = self._replica.get_update()
        rows = room.seq - self._folded - self._lost
        fold = Fold(room.seq, room.doc.get_update(), rows, bases)
        text = str(room.text)
        room.log_folded()
        try:
            if await self._journal.fold(room.id, fold, text):
                self._folded, self._lost = fold.seq, 0
        except CloudIDEError as error:
            _log.warning("disk.not_folded", room=room.id, error=error.message)


async def _nowhere() -> bool:
    return False


def _finish(rounds: list[asyncio.Future[None]], error: CloudIDEError | None) -> None:
    for round_ in rounds:
        if not round_.done():
            if error is None:
                round_.set_result(None)
            else:
                round_.set_exception(error)


class _Intended(msgspec.Struct, frozen=True):
    """An intent, and the document's state that the write was to bring to the disk."""

    intent: Intent
    state: bytes
