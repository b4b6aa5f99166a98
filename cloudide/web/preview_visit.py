"""One request or socket of a preview under way: its end when the right to it ends, and its body."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, HTTPConnection, Request

from cloudide.ports.sites import Target


class Visit:
    """One request or socket under way, which ends when the right to it does."""

    def __init__(self, connection: HTTPConnection, target: Target) -> None:
        self.connection = connection
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


class Body:
    """A request's body as it comes, and after it the news that the client went away."""

    def __init__(self, request: Request, visit: Visit) -> None:
        self._request = request
        self._visit = visit
        self._watching: asyncio.Task[None] | None = None

    def content(self) -> AsyncIterator[bytes] | None:
        headers = self._request.headers
        if "transfer-encoding" in headers or headers.get("content-length", "0") != "0":
            return self._chunks()
        self._watch()
        return None

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._request.stream():
                if chunk:
                    yield chunk
        except ClientDisconnect:
            self._visit.end()
            raise
        self._watch()

    def _watch(self) -> None:
        self._watching = asyncio.create_task(self._until_gone())

    async def _until_gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass
        self._visit.end()
