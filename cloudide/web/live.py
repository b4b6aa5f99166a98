"""Live sockets: who has which connections open, so that a revoked right ends them at once."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cloudide.errors import NotSignedIn, TooMany

RESTARTING = 1012


class Closable(Protocol):
    """A channel, or whatever else lasts as long as somebody's right to it."""

    def close(self, code: int = ..., reason: str = ...) -> None: ...


@dataclass(frozen=True, eq=False)
class LiveSocket:
    """`session` is the digest of its secret, "" for API tokens; `workspace` is "" where a socket is
    not of one workspace."""

    user: str
    session: str
    workspace: str
    channel: Closable
    token: str = ""  # the id of the API token it was opened with
    expires_at: float | None = None  # when that ends, in seconds since the epoch


class LiveSockets:
    def __init__(self, per_user_and_workspace: int) -> None:
        self.revision = 0  # counts revocations
        self.on_revoke: Callable[[], None] = lambda: None
        self._limit = per_user_and_workspace
        self._sockets: set[LiveSocket] = set()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._timers: dict[LiveSocket, asyncio.TimerHandle] = {}

    def add(self, socket: LiveSocket) -> None:
        """Raises: TooMany: this person has as many sockets here as one may have."""
        key = (socket.user, socket.workspace)
        if self._counts[key] >= self._limit:
            raise TooMany(
                f"You have {self._limit} connections open here, the limit. Close some tabs."
            )
        self._counts[key] += 1
        self._sockets.add(socket)
        if socket.expires_at is not None:
            self._timers[socket] = asyncio.get_running_loop().call_later(
                socket.expires_at - time.time(), self._expired, socket
            )

    def remove(self, socket: LiveSocket) -> None:
        if socket in self._sockets:
            self._sockets.remove(socket)
            self._counts[socket.user, socket.workspace] -= 1
            if timer := self._timers.pop(socket, None):
                timer.cancel()

    def present(self, workspace: str) -> set[str]:
        """The ids of the people who have a socket of this workspace open."""
        return {socket.user for socket in self._sockets if socket.workspace == workspace}

    def revoke(
        self, *, user: str = "", session: str = "", workspace: str = "", token: str = ""
    ) -> None:
        """Close the sockets for which all that is given matches, with 4401: do not come back."""
        self.revision += 1
        self.on_revoke()
        for socket in list(self._sockets):
            if (
                (not user or socket.user == user)
                and (not session or socket.session == session)
                and (not token or socket.token == token)
                and (not workspace or socket.workspace in ("", workspace))
            ):
                if workspace and not socket.workspace:
                    # A page's own socket: it comes back, and is told what it may still watch.
                    socket.channel.close(RESTARTING)
                else:
                    socket.channel.close(NotSignedIn.close_code, "Your access here has ended.")

    def renew(self, *, workspace: str, user: str = "") -> None:
        """What somebody (`user` "": anybody) may do in a workspace is another: let their pages come
        back and learn it. Who has no right left is refused then."""
        self.revision += 1
        self.on_revoke()
        for socket in list(self._sockets):
            if socket.workspace in ("", workspace) and user in ("", socket.user):
                socket.channel.close(RESTARTING, "What you may do here has changed.")

    def _expired(self, socket: LiveSocket) -> None:
        socket.channel.close(NotSignedIn.close_code, "Your API token has expired.")

    def __len__(self) -> int:
        return len(self._sockets)
