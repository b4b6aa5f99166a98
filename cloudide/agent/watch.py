"""Watching the workspace: what changed below the root, coalesced.

Events are hints. When some may have been lost, that is said (`overflow`) and whoever needs to be
sure looks again.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat as modes
import threading
from collections.abc import Callable
from pathlib import Path

from cloudide.agent.files import LEFTOVER
from cloudide.protocol.agent import CHANGES_LIMIT, Change, ChangeKind, FilesChanged

COALESCE = 50  # milliseconds
POLL_DELAY = 3000  # milliseconds between looks where the kernel cannot tell
STOP_TIMEOUT = 2.0  # seconds

log = logging.getLogger("cloudide.agent.watch")


class Watcher:
    """A thread that watches the root and calls `on_change` on the event loop."""

    def __init__(
        self,
        root: Path,
        on_change: Callable[[FilesChanged], None],
        hash_of: Callable[[str], str],
    ) -> None:
        """`hash_of`: what a `Change` says of the content at a path; called in the thread."""
        self._root = str(root)
        self._on_change = on_change
        self._hash_of = hash_of
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; it does so within moments, by itself."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join(STOP_TIMEOUT)

    def _run(self) -> None:
        try:
            self._watch(polling=False)
        except Exception as error:  # whatever the kernel or the library runs into
            log.warning(
                "The workspace cannot be watched (%s); it is polled every %g s instead. On the "
                "host, fs.inotify.max_user_watches and max_user_instances may be too low.",
                error,
                POLL_DELAY / 1000,
            )
            self._tell(FilesChanged([], overflow=True))
            try:
                self._watch(polling=True)
            except Exception:
                log.exception("The workspace cannot be polled either; changes are not noticed.")

    def _watch(self, polling: bool) -> None:
        from watchfiles import watch

        for changes in watch(
            self._root,
            watch_filter=None,
            debounce=COALESCE,
            step=COALESCE,
            stop_event=self._stop,
            force_polling=polling,
            poll_delay_ms=POLL_DELAY,
            raise_interrupt=False,
            ignore_permission_denied=True,
        ):
            if event := self._event({(change.raw_str(), path) for change, path in changes}):
                self._tell(event)

    def _event(self, changes: set[tuple[str, str]]) -> FilesChanged | None:
        kinds: dict[str, ChangeKind] = {}
        for kind, absolute in changes:
            path = self._relative(absolute)
            if path is None:
                continue
            match kind:
                case "added":
                    # Written and made at once is made; a new folder may have been filled before
                    # it was watched.
                    kinds[path] = "modified" if kinds.get(path) == "deleted" else "added"
                    self._below(absolute, kinds)
                case "deleted":
                    exists = os.path.lexists(absolute)
                    kinds[path] = "modified" if exists else "deleted"
                case _:
                    if path not in kinds:
                        kinds[path] = "modified" if os.path.lexists(absolute) else "deleted"
            if len(kinds) > CHANGES_LIMIT:
                return FilesChanged([], overflow=True)
        if not kinds:
            return None
        return FilesChanged(
            [Change(path, kind, self._hash_of(path)) for path, kind in sorted(kinds.items())]
        )

    def _below(self, folder: str, kinds: dict[str, ChangeKind]) -> None:
        pending = [folder]
        while pending and len(kinds) <= CHANGES_LIMIT:
            current = pending.pop()
            try:
                if not modes.S_ISDIR(os.lstat(current).st_mode):
                    continue
                names = os.listdir(current)
            except OSError:
                continue
            for name in names:
                absolute = f"{current}/{name}"
                path = self._relative(absolute)
                if path is not None:
                    kinds.setdefault(path, "added")
                    pending.append(absolute)

    def _relative(self, absolute: str) -> str | None:
        """The path of the protocol; None for what nobody is told of."""
        path = absolute[len(self._root) :].strip("/")
        if not path or not absolute.startswith(self._root):
            return None
        parts = path.split("/")
        if ".git" in parts[:-1] or any(LEFTOVER.fullmatch(os.fsencode(part)) for part in parts):
            return None
        return os.fsencode(path).decode(errors="replace")

    def _tell(self, event: FilesChanged) -> None:
        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._on_change, event)
