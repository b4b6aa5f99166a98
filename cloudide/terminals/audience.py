"""Those who are shown a terminal: viewers, and recordings."""

from __future__ import annotations

from enum import Enum, auto

from cloudide.protocol.agent import Exit


class Phase(Enum):
    WAITING = auto()  # for a replay to begin
    REPLAYING = auto()
    LIVE = auto()
    LAGGING = auto()  # behind: is shown nothing until there is room for a replay


class Audience:
    """Base; the terminal moves `phase` from WAITING to LIVE."""

    phase = Phase.WAITING

    def replay(self, cols: int, rows: int) -> None:
        """The past begins."""

    def show_past(self, data: bytes) -> None: ...

    def ready(self) -> None:
        """The past is complete."""

    def show(self, data: bytes) -> None:
        """Live output; only while LIVE."""

    def resized(self, cols: int, rows: int) -> None: ...

    def ended(self, exit: Exit) -> None: ...


def exit_view(exit: Exit) -> dict[str, int]:
    return {"code": exit.code} if exit.code is not None else {"signal": exit.signal or 0}
