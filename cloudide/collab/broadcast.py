"""Who is in a room, and what they are still to be sent of its changes.

What changed in one turn of the event loop goes out as one frame, encoded once and shared by all
readers. A reader whose wire takes frames costs one call of its `Channel.direct`; one that is behind
is told through its `Connection`, with the state that the frame leads on from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pycrdt import merge_updates

from cloudide.channel import encode
from cloudide.collab.connection import Connection
from cloudide.protocol import sync
from cloudide.protocol.updates import Clocks, advance, write_state_vector

FIRST_SYNC_TAIL = 64 * 1024  # bytes of updates after which a first sync is encoded anew


class Broadcast:
    """The readers of one document, which has `clocks` when the first of them comes."""

    def __init__(self, clocks: Clocks) -> None:
        self._connections: set[Connection] = set()
        # Of those that are not behind; None: to be looked up anew.
        self._writers: list[Callable[[bytes], object]] | None = None
        self._behind: list[Connection] = []
        self._updates: list[bytes] = []
        self._ends: list[Clocks] = []  # of those updates
        self._sender: Connection | None = None  # of all those updates
        self._sent = dict(clocks)  # what everybody has been sent
        self._first_sync: list[bytes] = []
        self._first_sync_tail = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._connections

    def __iter__(self) -> Iterator[Connection]:
        """Everybody, also when somebody goes meanwhile."""
        return iter(list(self._connections))

    def add(self, connection: Connection) -> None:
        self._connections.add(connection)
        connection.channel.on_direct = self._changed
        self._changed()

    def discard(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._changed()

    def queue(self, update: bytes, ends: Clocks, sender: Connection | None) -> None:
        """Send a change with the next `flush`, not to its `sender` if all there is comes from it.

        `ends`: as `UpdateShape.ends`.
        """
        if not self._updates:
            self._sender = sender
        elif self._sender is not sender:
            self._sender = None
        self._updates.append(update)
        self._ends.append(ends)

    @property
    def pending(self) -> bool:
        return bool(self._updates)

    def flush(self) -> None:
        """Send what is queued."""
        updates, self._updates = self._updates, []
        frame = sync.update(updates[0] if len(updates) == 1 else merge_updates(*updates))
        encoded = encode(frame)
        if self._writers is None:
            self._look_up()
        own = None if self._sender is None else self._sender.channel.direct
        for write in self._writers or ():
            if write is not own:
                write(encoded)
        if self._behind:
            before = write_state_vector(self._sent)
            for connection in self._behind:
                if connection is not self._sender:
                    connection.broadcast(frame, before)
        for ends in self._ends:
            advance(self._sent, ends)
        self._ends.clear()
        if self._first_sync:
            self._first_sync.append(frame)
            self._first_sync_tail += len(frame)
            if self._first_sync_tail > FIRST_SYNC_TAIL:
                self._first_sync = []

    def send(self, frame: bytes) -> None:
        """Send everybody a frame that whoever is behind can do without."""
        for connection in self._connections:
            if not connection.lagging:
                connection.channel.send(frame)

    def first_sync(self, encoded: Callable[[], bytes]) -> list[bytes]:
        """Frames that carry the whole document: a step 2, of the update that `encoded` returns, and
        the updates since it was made.

        Whoever joins gets the same ones, so that a crowd costs one encoding.
        """
        if not self._first_sync:
            self._first_sync = [sync.step_2(encoded())]
            self._first_sync_tail = 0
        return self._first_sync

    def forget_first_sync(self) -> None:
        self._first_sync = []

    def _changed(self) -> None:
        self._writers = None

    def _look_up(self) -> None:
        self._writers, self._behind = [], []
        for connection in self._connections:
            if direct := connection.channel.direct:
                self._writers.append(direct)
            else:
                self._behind.append(connection)
