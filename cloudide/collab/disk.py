"""The disk as a peer of a room: the file in the container is one more replica of the document.

`DiskPeer` is the task that exchanges the file with the agent, in rounds: it wakes when the room or
the file may have changed, and tries again when the disk cannot be written. What is agreed with the
disk, and how a change on it merges, is the `Replica`'s (`replica.py`).

A change in the room is written back by compare-and-swap (see `WriteFile`). Before each write an
intent is journalled, and with it everything before: the disk never sees what the journal has not.
What the write displaced, if it is not what was agreed, is merged before it goes.

One task runs all this for a room, so that its steps never overlap.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from cloudide.agents.hub import Agents
from cloudide.collab.journal import Journal
from cloudide.collab.records import RoomRecord
from cloudide.collab.replica import Proposal, Replica
from cloudide.collab.room import Room, RoomState
from cloudide.collab.text import content_hash, decode
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
from cloudide.protocol.sync import DiskState

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
        self.stat: Stat | None = None
        self.deleted = False
        self.offline = False  # the agent was out of reach when it was last needed
        self.on_replaced: Callable[[CloudIDEError], None] = lambda error: None
        # Look whether the file, which is not at its path, was renamed; True: the room is there now.
        self.follow: Callable[[], Awaitable[bool]] = _nowhere
        self._agents = agents
        self._journal = journal
        self._clock = clock
        self._replica = Replica(room, record, journal)
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

    @property
    def dirty(self) -> bool:
        """Whether the room has something that the disk does not."""
        return self._replica.behind or self._restored

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
            self.room.tell_disk(DiskState("writing"))

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

    def holds(self, hash: str) -> bool:
        """Whether a content of the file is what the disk is known to have, or is getting now."""
        return not self._missing_since and not self.deleted and self._replica.wrote(hash)

    def reconnected(self) -> None:
        """The agent is there (again); a write may have been cut off when it went."""
        self._swaps = True
        self.hint()

    def hint(self) -> None:
        """The file may have changed; look."""
        self._look = True
        self._retry_at = 0.0
        self._wake.set()

    async def look(self, reading: Awaitable[FileContent] | None = None) -> None:
        """Look at the file now and merge what changed. `reading`: a look that is under way.

        Raises:
            AgentUnavailable, NotFound, NotEditable, TooLarge: as the file is.
        """
        await self._pull(reading=reading)

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
            await self._replica.fold()
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
            self.room.tell_disk(DiskState("offline", unavailable.message))
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
        await self._replica.fold()

    def _fail(self, error: CloudIDEError) -> None:
        """Say so, and try again in a while."""
        self.room.tell_disk(DiskState("failed", error.message))
        self._retry_at = asyncio.get_running_loop().time() + RETRY_SECONDS
        self._look = True
        self._clock.add(self)

    # ── from the disk ───────────────────────────────────────────────────────────────────────────

    async def _pull(
        self, patient: bool = False, reading: Awaitable[FileContent] | None = None
    ) -> None:
        """Look at the file. `patient`: one that is missing may be there again in a moment."""
        room = self.room
        if reading is None:
            agent = self._agents.agent(room.workspace)
            known = self._replica.agreement.hash
            reading = agent.call(ReadFile(room.path, room.limits.editable, known, self._swaps))
        try:
            content = await reading
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
        if content.hash != self._replica.agreement.hash:
            if content.content is None:
                raise Unavailable("The workspace sent a file without its content.")
            written = content.stat.mtime_ns / 1e9
            await self._replica.seen(content.hash, content.content, written)
        if returned or not self.dirty:
            room.tell_disk(DiskState("writing" if self.dirty else "clean"))

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
            self.room.tell_disk(DiskState("deleted", "The file was deleted in the workspace."))

    def _is_another(self, hash: str) -> bool:
        """Whether a file that was deleted and is there again is another one, with its own past.

        One that comes back as it was is the same. What people typed since it went belongs to it,
        and is merged.
        """
        return self._replica.is_foreign(hash) and not self.dirty

    async def _recover(self, content: FileContent) -> None:
        """Merge what an interrupted write displaced and nobody has merged since."""
        if not self._swaps:
            return
        for swap in content.swaps:
            if self._replica.is_foreign(content_hash(swap.content)):
                await self._merge_displaced(swap, content)
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
        proposal = self._replica.proposal()
        agreed = self._replica.agreement.hash
        if proposal.agreement.hash == agreed and not self.deleted:
            await self._replica.agree(proposal)
            if not self.dirty:
                room.tell_disk(DiskState("clean"))
            return
        await self._replica.intend(proposal)
        expected = "" if self.deleted else agreed
        try:
            written = await agent.call(
                WriteFile(room.path, proposal.content, expected=expected, parents=self.deleted)
            )
        except AgentUnavailable:
            raise  # it may have happened all the same: the intent stands
        except (NotFound, Conflict):
            # Deleted, made anew or changed in between, and nothing was written: look again first.
            await self._replica.withdraw(proposal)
            self.hint()
            return
        except CloudIDEError:
            await self._replica.withdraw(proposal)
            raise
        self.deleted = self._restored = False
        self.stat = written.stat
        await self._written(written, proposal)
        if not self.dirty:
            room.tell_disk(DiskState("clean"))

    async def _written(self, written: Written, proposal: Proposal) -> None:
        swap = written.displaced
        if swap is None:
            await self._replica.agree(proposal)
            return
        self._swaps = True  # until it is released
        if self._replica.is_foreign(content_hash(swap.content)):
            await self._merge_displaced(swap, proposal)
        else:
            await self._replica.agree(proposal)
        await self._release(swap.name)
        self._swaps = False

    async def _merge_displaced(self, swap: Swap, disk: Proposal | FileContent) -> None:
        """Merge what our write took the place of; `disk` as in `Replica.displaced`."""
        room = self.room
        try:
            text, format = decode(swap.content, room.limits.editable)
        except (NotEditable, TooLarge):
            # Not text any more: put it back, and let the room end as for any replaced file.
            agent = self._agents.agent(room.workspace)
            expected = disk.agreement.hash if isinstance(disk, Proposal) else disk.hash
            await agent.call(WriteFile(room.path, swap.content, expected=expected))
            await self._release(swap.name)
            raise
        await self._replica.displaced(content_hash(swap.content), text, format, disk)

    async def _release(self, name: str) -> None:
        # Only when what it held is durable may the last copy of it go.
        await self._journal.barrier()
        if self.room.state is RoomState.CLOSED:
            raise Unavailable("The document is being reloaded; try again shortly.")
        await self._agents.agent(self.room.workspace).call(ReleaseSwap(self.room.path, name))


async def _nowhere() -> bool:
    return False


def _finish(rounds: list[asyncio.Future[None]], error: CloudIDEError | None) -> None:
    for round_ in rounds:
        if not round_.done():
            if error is None:
                round_.set_result(None)
            else:
                round_.set_exception(error)
