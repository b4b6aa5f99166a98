"""What builds print: kept in a file each, read from any offset, and followed as it grows."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from cloudide.errors import InvalidInput

ID = re.compile(r"bld_[0-9a-f]{16}")
PAGE = 256 * 1024  # bytes read at a time
ENOUGH = b"\n[The log has reached its limit; what comes is not kept.]\n"


class BuildLogs:
    """Logs of builds in a folder. Offsets are bytes, and stay what they are for ever."""

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder = folder
        self._limit = limit
        self._watchers: dict[str, set[asyncio.Event]] = {}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def append(self, build: str, text: bytes) -> None:
        """Add to a log; what is over the limit is left out, which the log says."""
        path = self._path(build)
        have = path.stat().st_size if path.exists() else 0
        if text and have <= self._limit:
            if have + len(text) > self._limit:
                text = text[: self._limit - have] + ENOUGH
            with path.open("ab") as file:
                file.write(text)
        self.touch(build)

    def read(self, build: str, offset: int) -> bytes:
        """At most `PAGE` bytes from an offset on."""
        try:
            with self._path(build).open("rb") as file:
                file.seek(offset)
                return file.read(PAGE)
        except FileNotFoundError:
            return b""

    def size(self, build: str) -> int:
        try:
            return self._path(build).stat().st_size
        except FileNotFoundError:
            return 0

    def delete(self, build: str) -> None:
        self._path(build).unlink(missing_ok=True)

    def kept(self) -> list[str]:
        """The builds that have a log."""
        return [path.stem for path in self._folder.glob("*.log") if ID.fullmatch(path.stem)]

    # ── following ───────────────────────────────────────────────────────────────────────────────

    def watch(self, build: str) -> asyncio.Event:
        """An event that is set whenever there is more, or the build has changed."""
        event = asyncio.Event()
        self._watchers.setdefault(build, set()).add(event)
        return event

    def unwatch(self, build: str, event: asyncio.Event) -> None:
        watchers = self._watchers.get(build, set())
        watchers.discard(event)
        if not watchers:
            self._watchers.pop(build, None)

    def touch(self, build: str) -> None:
        for event in self._watchers.get(build, ()):
            event.set()

    def _path(self, build: str) -> Path:
        if not ID.fullmatch(build):
            raise InvalidInput("This is not the id of a build.")
        return self._folder / f"{build}.log"
