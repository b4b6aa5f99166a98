"""What a run printed: the last of it, and who looks on."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from cloudide.channel import Channel


class Output:
    """The last `limit` bytes of a run's output, and the count of those before."""

    def __init__(self, limit: int) -> None:
        self._lost = 0
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._size = 0

    def append(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        while self._size > self._limit:
            first = self._chunks.popleft()
            over = self._size - self._limit
            if len(first) > over:
                self._chunks.appendleft(first[over:])
                first = first[:over]
            self._size -= len(first)
            self._lost += len(first)

    def kept(self) -> tuple[bytes, int]:
        """What is kept, from the beginning of a line on, and how many bytes were before."""
        content = b"".join(self._chunks)
        part = content.find(b"\n") + 1 if self._lost else 0
        return content[part:], self._lost + part


class Onlooker:
    """One who looks at a run; behind its budget, all that is queued gives way to a replay.

    The socket carries `replay`, bytes, `ready`, bytes as they come, and `ended`; then it closes.
    Text frames are JSON with a `type`; `lost` bytes before the replay are no longer kept.
    """

    def __init__(self, channel: Channel, output: Output) -> None:
        self.channel = channel
        self._output = output
        self._lagging = False
        channel.on_drained = self._drained

    def replay(self) -> None:
        show(self.channel, *self._output.kept())

    def show(self, data: bytes) -> None:
        if self._lagging:
            return
        self.channel.send(data)
        if self.channel.over_budget:
            self.channel.drop()
            self._lagging = True

    def end(self, run: dict[str, Any]) -> None:
        if self._lagging:
            self._lagging = False
            self.replay()
        end(self.channel, run)

    def _drained(self) -> None:
        if self._lagging:
            self._lagging = False
            self.replay()


def show(channel: Channel, content: bytes, lost: int) -> None:
    """All that there is so far."""
    _tell(channel, {"type": "replay", "lost": lost})
    if content:
        channel.send(content, counted=False)
    _tell(channel, {"type": "ready"})


def end(channel: Channel, run: dict[str, Any]) -> None:
    _tell(channel, {"type": "ended", "run": run})
    channel.close()


def _tell(channel: Channel, message: dict[str, Any]) -> None:
    channel.send(msgspec.json.encode(message).decode())
