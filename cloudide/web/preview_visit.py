"""One socket of a preview under way, which ends when the right to it does."""

from __future__ import annotations

import asyncio

from cloudide.ports.sites import Target
from cloudide.web.preview_door import Head


class Visit:
    """One socket under way; the task that makes it carries it."""

    def __init__(self, head: Head, target: Target) -> None:
        self.head = head
        self.target = target
        self.ended = False  # by `end`
        self._task = asyncio.current_task()

    def end(self) -> None:
        """Cancel whoever carries it; they see `ended`."""
        if not self.ended and self._task is not None:
            self.ended = True
            self._task.cancel()

    def resumed(self) -> None:
        """The cancellation has arrived, and what it was for is done."""
        if self._task is not None:
            self._task.uncancel()
