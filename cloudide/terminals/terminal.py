"""One terminal that somebody looks at: attached to the agent, shown to all viewers.

The past is kept by the agent alone. When viewers need it, because they joined or fell behind, the
agent is asked, and sends it among the live output, so that the two fit together exactly; it is
passed on to those who wait for it and to nobody else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cloudide.agents.hub import Agents
from cloudide.errors import CloudIDEError, Conflict, NotFound
from cloudide.identity.permissions import Person
from cloudide.protocol.agent import Exited, Ready, Replay, Resized, TerminalInfo
from cloudide.protocol.output import OutputMessage
from cloudide.protocol.queries import is_answer
from cloudide.protocol.terminal import draft
from cloudide.terminals.audience import Audience, Phase
from cloudide.terminals.records import Record
from cloudide.terminals.stream import TerminalStream
from cloudide.terminals.viewer import Viewer

GONE_AWAY = 1012  # the viewer comes back: the workspace or the server is restarting
PATIENCE = 5.0  # seconds that a program waits for the viewer in control
TYPED_INTERVAL = 1.0  # seconds in which the typing of one person is told once
KEEP_INTERVAL = 5.0  # seconds between records given to the agent
PAST_LIMIT = 32 * 1024 * 1024  # bytes; an agent keeps less


class Terminal:
    def __init__(
        self,
        agents: Agents,
        workspace: str,
        info: TerminalInfo,
        record: Record,
        sealed: Callable[[], str],
    ) -> None:
        """`sealed` gives the record as the agent keeps it."""
        self.workspace = workspace
        self.info = info
        self.record = record
        self.size = self._asked_size = (info.cols, info.rows)
        self.viewers: list[Viewer] = []
        self.others: list[Audience] = []  # recordings
        self.holder: Viewer | None = None
        self.on_empty: Callable[[], None] = lambda: None
        self.on_change: Callable[[], None] = lambda: None
        self.on_ended: Callable[[], None] = lambda: None
        # Awaited before what somebody else types goes on.
        self.on_typist: Callable[[Person], Awaitable[None]] = _nothing
        self._agents = agents
        self._sealed = sealed
        self._stream: TerminalStream | None = None
        self._attached = asyncio.Event()
        self._asked = asyncio.Event()
        self._replay_due = True  # one is on its way that has not begun
        self._past: int | None = None  # bytes of the replay that is on
        self._last: Viewer | None = None  # who typed last
        self._impatient: Viewer | None = None  # who was waited for in vain
        self._waiting: asyncio.Task[None] | None = None  # for who is in control
        self._told: dict[str, float] = {}  # person → when their typing was last told
        self._typed = asyncio.Event()

    @property
    def audience(self) -> list[Audience]:
        return [*self.viewers, *self.others]

    @property
    def in_control(self) -> Viewer | None:
        """Who holds control, or else typed last, or else came first of those who may type."""
        if self.holder is not None:
            return self.holder
        if self._last is not None:
            return self._last
        return next((viewer for viewer in self.viewers if viewer.may_type), None)

    # ── who looks ───────────────────────────────────────────────────────────────────────────────

    def add(self, viewer: Viewer) -> None:
        self.viewers.append(viewer)
        viewer.writable = self._may_type(viewer)
        self.want_replay()
        self._tell_viewers()
        self._tell_typing(viewer)

    def add_other(self, other: Audience) -> None:
        self.others.append(other)
        self.want_replay()

    def remove_other(self, other: Audience) -> None:
        if other in self.others:
            self.others.remove(other)
            if not self.audience:
                self.on_empty()

    async def remove(self, viewer: Viewer) -> None:
        if viewer not in self.viewers:
            return
        self.viewers.remove(viewer)
        if self._last is viewer:
            self._last = None
        if self.holder is viewer:
            self.holder = None
            self.tell_typing()
        self._tell_viewers()
        if not self.audience:
            self.on_empty()
        await self.fit()

    async def fit(self) -> None:
        """Give the terminal the size of who holds control, or the smallest that anybody sees."""
        if self.holder is not None and self.holder.size is not None:
            sizes = [self.holder.size]
        else:
            sizes = [v.size for v in self.viewers if v.visible and v.size is not None]
        if not sizes:
            return
        size = (min(cols for cols, _ in sizes), min(rows for _, rows in sizes))
        if size == self._asked_size or self.info.exit is not None:
            return
        self._asked_size = size
        # Viewers are told when the agent says so, where it happened among the output.
        await self._agents.agent(self.workspace).resize_terminal(self.info.id, *size)

    async def control(self, viewer: Viewer, hold: bool) -> None:
        before = self.holder
        if hold:
            self.holder = viewer
        elif self.holder is viewer:
            self.holder = None
        if self.holder is not before:
            self.tell_typing()
            await self.fit()

    # ── who types ───────────────────────────────────────────────────────────────────────────────

    def type(self, viewer: Viewer, data: bytes) -> Awaitable[None] | None:
        """Pass on what a viewer typed, as far as this terminal lets that person type.

        Mostly that is done at once; else what is returned is to be awaited.
        """
        if is_answer(data):
            # A question that several emulators hear is answered once, and one of the past never.
            if viewer is not self.in_control or viewer.phase is not Phase.LIVE:
                return None
        else:
            if not self._may_type(viewer):
                self._tell_typing(viewer)  # it was on its way when that was changed
                return None
            if self.record.mode == "approve" and not self._owns(viewer):
                allowed = draft(data)
                if allowed != data:
                    self._tell({"type": "held", "person": viewer.grant.person})
                if not allowed:
                    return None
                data = allowed
            self._last = viewer
            if self._note(viewer.grant.person):
                return self._write_later(data, viewer.grant.person)
        if self._stream is None or not self._stream.writable.is_set():
            return self._write_later(data)
        self._stream.write(data)
        return None

    async def _write_later(self, data: bytes, typist: Person | None = None) -> None:
        if typist is not None:
            await self.on_typist(typist)
        await self._attached.wait()
        if self._stream is not None:
            await self._stream.writable.wait()
            # When it has ended, `run` hears of it too, and says why.
            self._stream.write(data)

    def tell_typing(self) -> None:
        """Tell everybody who may type now."""
        for viewer in self.viewers:
            self._tell_typing(viewer)
        self.on_change()

    def _owns(self, viewer: Viewer) -> bool:
        owner = self.record.owner
        return owner is not None and owner.id == viewer.grant.person.id

    def _may_type(self, viewer: Viewer) -> bool:
        return viewer.may_type and (self.record.mode != "owner" or self._owns(viewer))

    def _note(self, person: Person) -> bool:
        """Remember who typed; whether that is somebody else than before."""
        now = time.time()
        changed = self.record.note(person, now)
        if changed:
            self.on_change()
        self._typed.set()
        if now - self._told.get(person.id, 0.0) >= TYPED_INTERVAL:
            self._told = {id: at for id, at in self._told.items() if now - at < TYPED_INTERVAL}
            self._told[person.id] = now
            self._tell({"type": "typed", "person": person})
        return changed

    def _tell_typing(self, viewer: Viewer) -> None:
        viewer.writable = self._may_type(viewer)
        viewer.tell(
            {
                "type": "typing",
                "mode": self.record.mode,
                "owner": self.record.owner,
                "control": self.holder.grant.person if self.holder is not None else None,
                "writable": viewer.writable,
            }
        )

    def _tell(self, message: dict[str, Any]) -> None:
        for viewer in self.viewers:
            viewer.tell(message)

    def _tell_viewers(self) -> None:
        people = {viewer.grant.person.id: viewer.grant.person for viewer in self.viewers}
        self._tell({"type": "viewers", "people": [*people.values()]})
        self.on_change()

    def retold(self, info: TerminalInfo) -> None:
        """The agent tells how the terminal is now."""
        if info.title != self.info.title:
            self._tell({"type": "title", "title": info.title})
        # That it has ended is told by the stream, after the last output.
        self.info = msgspec.structs.replace(info, exit=self.info.exit)

    # ── the agent's stream ──────────────────────────────────────────────────────────────────────

    def want_replay(self) -> None:
        if not self._replay_due:
            self._replay_due = True
            self._asked.set()

    async def run(self) -> None:
        """Attach and show what comes, until the program has ended or the link is cut."""
        helpers: list[asyncio.Task[None]] = []
        try:
            agent = self._agents.agent(self.workspace)
            self._stream = TerminalStream(await agent.attach_terminal(self.info.id), self._heard)
            self._attached.set()
            helpers = [
                asyncio.create_task(self._ask()),
                asyncio.create_task(self._keep()),
            ]
            await self._stream.over
        except CloudIDEError as error:
            for viewer in [*self.viewers]:
                viewer.channel.close(
                    NotFound.close_code if isinstance(error, NotFound) else GONE_AWAY,
                    error.message,
                )
        finally:
            self.on_ended()  # before anything is waited for
            if self._stream is not None:
                self._stream.close()
            if self._waiting is not None:
                helpers.append(self._waiting)
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    def _heard(self, piece: bytes | OutputMessage) -> None:
        """Output, or what the agent tells of it."""
        match piece:
            case bytes() as data:
                if self._past is None:
                    for each in self.audience:
                        if each.phase is Phase.LIVE:
                            each.show(data)
                    self._wait_for_control()
                    return
                self._past += len(data)
                if self._past > PAST_LIMIT:
                    raise Conflict("The workspace's agent sent an endless past.")
                for each in self.audience:
                    if each.phase is Phase.REPLAYING:
                        each.show_past(data)
            case Replay(cols, rows):
                self.size = (cols, rows)
                self._past = 0
                self._replay_due = False
                for each in self.audience:
                    if each.phase is Phase.WAITING:
                        each.phase = Phase.REPLAYING
                        each.replay(cols, rows)
            case Ready():
                self._past = None
                for each in self.audience:
                    if each.phase is Phase.REPLAYING:
                        each.phase = Phase.LIVE
                        each.ready()
            case Resized(cols, rows):
                self.size = (cols, rows)
                for each in self.audience:
                    each.resized(cols, rows)
            case Exited(exit):
                self.info = msgspec.structs.replace(self.info, exit=exit)
                for each in self.audience:
                    each.ended(exit)
                self.on_ended()  # who comes now would be told nothing any more
                assert self._stream is not None
                self._stream.finish()

    def _wait_for_control(self) -> None:
        """Let the program wait for the viewer in control, but not for long; others never."""
        viewer = self.in_control
        if viewer is None:
            return
        if viewer.caught_up.is_set():
            if self._impatient is viewer:
                self._impatient = None
            return
        if self._impatient is viewer or self._waiting is not None or self._stream is None:
            return
        self._stream.pause()
        self._waiting = asyncio.create_task(self._wait_for(viewer, self._stream))

    async def _wait_for(self, viewer: Viewer, stream: TerminalStream) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await viewer.caught_up.wait()
        except TimeoutError:
            self._impatient = viewer
        self._waiting = None
        stream.resume()

    async def _ask(self) -> None:
        """Ask for replays as they are wanted."""
        agent = self._agents.agent(self.workspace)
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await agent.replay_terminal(self.info.id)
            except CloudIDEError:
                return  # the stream ends too, and says why

    async def _keep(self) -> None:
        """Give the record to the agent when somebody has typed."""
        agent = self._agents.agent(self.workspace)
        while True:
            await self._typed.wait()
            self._typed.clear()
            try:
                await agent.keep_record(self.info.id, self._sealed())
            except CloudIDEError:
                return
            await asyncio.sleep(KEEP_INTERVAL)


async def _nothing(_: Person) -> None:
    return None
