"""One who looks at a terminal, and types in it if the grant and the terminal allow that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, Protocol

import msgspec

from cloudide.channel import Channel
from cloudide.errors import Denied, InvalidInput
from cloudide.identity.permissions import Grant
from cloudide.protocol.agent import Exit
from cloudide.protocol.terminal import (
    MAX_SIZE,
    MIN_SIZE,
    Ack,
    Control,
    FromViewer,
    Resize,
    Visible,
)
from cloudide.terminals.audience import Audience, Phase, exit_view

_from_viewer = msgspec.json.Decoder(FromViewer)

HIGH_WATER = 512 * 1024  # bytes not drawn yet at which a viewer is behind
LOW_WATER = 256 * 1024  # and at which it is not any more
BEHIND_LIMIT = 8 * 1024 * 1024  # bytes not drawn yet at which a replay costs less than going on


class Host(Protocol):
    """The terminal, as a viewer sees it."""

    def type(self, viewer: Viewer, data: bytes) -> Awaitable[None] | None: ...

    async def fit(self) -> None: ...

    async def control(self, viewer: Viewer, hold: bool) -> None: ...

    def want_replay(self) -> None: ...

    async def remove(self, viewer: Viewer) -> None: ...


class Viewer(Audience):
    def __init__(self, terminal: Host, grant: Grant, channel: Channel) -> None:
        self.terminal = terminal
        self.grant = grant
        self.channel = channel
        self.size: tuple[int, int] | None = None
        self.visible = True
        self.writable = False  # as it was last told
        self.caught_up = asyncio.Event()
        self.caught_up.set()
        self._number = 0  # of replays
        self._sent = 0  # bytes since the last replay began, that included
        self._drawn: int | None = None  # of these, as far as acknowledged; None: never is
        self._congested = False  # the queue was dropped and has not been empty since
        channel.on_drained = self._drained

    @property
    def may_type(self) -> bool:
        return self.grant.sends("terminal", "bytes")

    def receive(self, frame: bytes | str) -> Awaitable[None] | None:
        """Handle one frame: typed bytes or a control message; what is returned is to be awaited.

        Raises:
            Denied: this viewer may only look.
            InvalidInput: it is not a control message.
        """
        if isinstance(frame, bytes):
            if not self.may_type:
                raise Denied("You may look at this terminal, but not type in it.")
            return self.terminal.type(self, frame)
        try:
            message = _from_viewer.decode(frame)
        except msgspec.DecodeError as error:
            raise InvalidInput(f"The control message was not understood: {error}") from error
        match message:
            case Resize(cols, rows):
                self.size = (clamp(cols), clamp(rows))
                return self.terminal.fit()
            case Visible(visible):
                self.visible = visible
                return self.terminal.fit()
            case Control(hold):
                if not self.may_type:
                    raise Denied("You may look at this terminal, but not control it.")
                return self.terminal.control(self, hold)
            case Ack(number, count):
                self._acknowledged(number, count)
            case _:
                self.tell({"type": "pong"})
        return None

    async def leave(self) -> None:
        self.caught_up.set()
        await self.terminal.remove(self)

    def tell(self, message: dict[str, Any]) -> None:
        self.channel.send(msgspec.json.encode(message).decode())

    # ── what it is shown ────────────────────────────────────────────────────────────────────────

    def replay(self, cols: int, rows: int) -> None:
        self._number += 1
        self._sent = 0
        if self._drawn is not None:
            self._drawn = 0
        self.tell({"type": "replay", "cols": cols, "rows": rows, "number": self._number})

    def show_past(self, data: bytes) -> None:
        self._sent += len(data)
        self.channel.send(data, counted=False)

    def ready(self) -> None:
        self.tell({"type": "ready", "writable": self.writable})

    def show(self, data: bytes) -> None:
        """Queue output; over budget, drop it all and replay when the viewer reads again."""
        self._sent += len(data)
        self.channel.send(data)
        if self.channel.over_budget:
            self.channel.drop()
            self._congested = True
        elif self._undrawn <= BEHIND_LIMIT:
            if self._behind:
                self.caught_up.clear()
            return
        self.phase = Phase.LAGGING
        self.caught_up.set()  # nobody waits for it

    def resized(self, cols: int, rows: int) -> None:
        self.tell({"type": "resize", "cols": cols, "rows": rows})

    def ended(self, exit: Exit) -> None:
        self.tell({"type": "exit", **exit_view(exit)})
        self.channel.close()

    # ── flow ────────────────────────────────────────────────────────────────────────────────────

    @property
    def _undrawn(self) -> int:
        return 0 if self._drawn is None else self._sent - self._drawn

    @property
    def _behind(self) -> bool:
        """Whether the program should wait, if this viewer is in control."""
        if self._drawn is None:
            return self.channel.queued > self.channel.budget // 2
        return self._undrawn > HIGH_WATER

    def _acknowledged(self, number: int, count: int) -> None:
        if number != self._number:
            return
        self._drawn = min(max(count, 0), self._sent)
        if self._undrawn <= LOW_WATER:
            self.caught_up.set()
            self._recover()

    def _drained(self) -> None:
        self._congested = False
        if self._drawn is None or self._undrawn <= LOW_WATER:
            self.caught_up.set()
        if self.phase is Phase.LAGGING:
            # What was dropped is never drawn, and so never acknowledged.
            self.phase = Phase.WAITING
            self.terminal.want_replay()

    def _recover(self) -> None:
        if self.phase is Phase.LAGGING and not self._congested:
            self.phase = Phase.WAITING
            self.terminal.want_replay()


def clamp(size: int) -> int:
    return max(MIN_SIZE, min(MAX_SIZE, size))
