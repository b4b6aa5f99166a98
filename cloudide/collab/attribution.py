"""Who typed what of a text that differs from another: for commits, between HEAD and what is staged.

What counts is each inserted character, not the line that it stands in: somebody who corrects a word
in a line of somebody else's has written that word alone. A deletion leaves nothing that would.
"""

from __future__ import annotations

import asyncio
import time
import zlib

from cloudide.collab.folding import MINUTE
from cloudide.collab.journal import Journal
from cloudide.collab.keyframes import Keyframes, Material
from cloudide.collab.replay import UNKNOWN, Replay, Span
from cloudide.collab.room import DISK
from cloudide.collab.schema import select
from cloudide.collab.text import decode, diff
from cloudide.errors import NotEditable, TooLarge

# How far back a text is looked for that is not the newest one: what was staged a while ago.
LOOK_BACK = 24 * 60  # minutes
ROWS_LIMIT = 50_000  # updates that are replayed for it


class Attribution:
    def __init__(self, journal: Journal, limit: int) -> None:
        """`limit`: bytes of a text that is looked at."""
        self._journal = journal
        self._keyframes = Keyframes(journal)
        self._limit = limit

    async def rooms(self, workspace: str, paths: list[str]) -> dict[str, int]:
        """The rooms of those files that somebody has opened."""
        found: dict[str, int] = {}
        for path in paths:
            rows = await self._journal.transact(
                lambda db, path=path: select(
                    db,
                    "SELECT id FROM rooms WHERE workspace = ? AND path = ? AND retired IS NULL",
                    *(workspace, path),
                )
            )
            if rows:
                found[path] = rows[0][0]
        return found

    async def authors(self, room: int, before: bytes, after: bytes) -> set[str]:
        """The people who typed what of the file's content `after` is not in `before`."""
        try:
            old, _ = decode(before, self._limit)
            new, _ = decode(after, self._limit)
        except (NotEditable, TooLarge):
            return set()  # nobody edits such a file here
        spans = await self._spans(room, new)
        if spans is None:
            return set()
        authors = await asyncio.to_thread(_of_inserted, old, new, spans)
        return authors - {DISK, UNKNOWN}

    async def _spans(self, room: int, text: str) -> list[Span] | None:
        """Who wrote which part of a text that the room has, or had."""
        played = await self._keyframes.latest(room)
        if played is None:
            return None
        if played.text == text:
            return played.spans
        since = int(time.time() // MINUTE) - LOOK_BACK
        material = await self._keyframes.material(room, since, 1 << 62)
        if len(material.rows) <= ROWS_LIMIT:
            exact = await asyncio.to_thread(_when_it_was, material, text.encode())
            if exact is not None:
                return exact
        return await asyncio.to_thread(_carried, played.text, played.spans, text)


def _when_it_was(material: Material, content: bytes) -> list[Span] | None:
    """The authors of the newest of the states that were just this text."""
    frame = material.frame
    replay = Replay(zlib.decompress(frame.state), frame.blame) if frame else Replay()
    found = list(replay.spans) if bytes(replay.content) == content else None
    for _, rows in material.by_minute():
        for _ in replay.feed(rows):
            if len(replay.content) == len(content) and bytes(replay.content) == content:
                found = list(replay.spans)
    return found


def _carried(known: str, spans: list[Span], text: str) -> list[Span]:
    """Spans of `text`: as those of `known`, where the two are the same."""
    carried: list[Span] = []
    position = 0  # in `known`, in characters
    cut = _Cutter(known, spans)
    for hunk in diff(known, text):
        carried += cut.take(known[position : hunk.start])
        cut.take(known[hunk.start : hunk.end])
        if hunk.text:
            carried.append(Span(len(hunk.text.encode()), UNKNOWN, 0.0))
        position = hunk.end
    return carried + cut.take(known[position:])


def _of_inserted(old: str, new: str, spans: list[Span]) -> set[str]:
    authors: set[str] = set()
    position = 0  # in `old`, in characters
    cut = _Cutter(new, spans)
    for hunk in diff(old, new):
        cut.take(old[position : hunk.start])
        authors |= {span.author for span in cut.take(hunk.text)}
        position = hunk.end
    return authors


class _Cutter:
    """Takes spans off a list, as long as the text that they are of."""

    def __init__(self, text: str, spans: list[Span]) -> None:
        total = sum(span.length for span in spans)
        rest = len(text.encode()) - total
        self._spans = [*spans, *([Span(rest, UNKNOWN, 0.0)] if rest > 0 else [])]
        self._at = 0
        self._used = 0  # bytes of the span at hand

    def take(self, text: str) -> list[Span]:
        wanted = len(text.encode())
        taken: list[Span] = []
        while wanted and self._at < len(self._spans):
            span = self._spans[self._at]
            length = min(wanted, span.length - self._used)
            taken.append(Span(length, span.author, span.time))
            wanted -= length
            self._used += length
            if self._used == span.length:
                self._at, self._used = self._at + 1, 0
        return taken
