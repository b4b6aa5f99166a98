"""What has changed in a workspace since a moment: which files, by whom, and since which version."""

# apsw's type information leaves the element type of its bindings open.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from typing import Any

import apsw
import msgspec

from cloudide.collab.folding import MINUTE
from cloudide.collab.history import Name
from cloudide.collab.journal import Journal
from cloudide.collab.room import DISK
from cloudide.collab.schema import select

FILES_LIMIT = 500
ROWS_LIMIT = 50_000


class ChangedFile(msgspec.Struct, frozen=True):
    """`authors`: each with the last minute in which they changed it. `before`: the version that it
    was at the moment; None: nobody had it open until then."""

    path: str
    authors: dict[str, int]
    before: Name | None


async def changes(journal: Journal, workspace: str, since: float) -> tuple[list[ChangedFile], bool]:
    """Files that changed in the minute of `since` (seconds of the Unix epoch) or later, the latest
    first, and whether there are more than are told.

    Of a file that nobody had open before, the text that was read from the disk is no change.
    """
    first = int(since // MINUTE)

    def found(db: apsw.Connection) -> tuple[list[Any], list[Any]]:
        folded = select(
            db,
            "SELECT r.id, r.path, h.minute, h.authors FROM rooms r JOIN history h ON h.room = r.id"
            " WHERE r.workspace = ? AND h.minute >= ? ORDER BY h.minute DESC LIMIT ?",
            *(workspace, first, ROWS_LIMIT),
        )
        logged = select(
            db,
            "SELECT r.id, r.path, u.author, max(u.time) FROM rooms r JOIN updates u"
            " ON u.room = r.id WHERE r.workspace = ? AND u.time >= ? GROUP BY r.id, u.author"
            " ORDER BY 4 DESC LIMIT ?",
            *(workspace, first * MINUTE, ROWS_LIMIT),
        )
        return folded, logged

    folded, logged = await journal.transact(found)
    authors: dict[str, dict[str, int]] = {}

    def note(path: str, author: str, minute: int) -> None:
        known = authors.setdefault(path, {})
        known[author] = max(known.get(author, 0), minute)

    for _, path, minute, encoded in folded:
        for author in msgspec.json.decode(encoded, type=list[str]):
            note(path, author, minute)
    for _, path, author, time in logged:
        note(path, author, int(time // MINUTE))
    latest = sorted(authors, key=lambda path: (-max(authors[path].values()), path))
    shown = latest[:FILES_LIMIT]

    def former(db: apsw.Connection) -> dict[str, Name | None]:
        return {path: _before(db, workspace, path, first) for path in shown}

    before = await journal.transact(former)
    files: list[ChangedFile] = []
    for path in shown:
        by = authors[path]
        if before[path] is None:
            by = {author: minute for author, minute in by.items() if author != DISK}
        if by:
            files.append(ChangedFile(path, by, before[path]))
    return files, len(latest) > len(shown)


def _before(db: apsw.Connection, workspace: str, path: str, minute: int) -> Name | None:
    """The newest version of a file from before a minute."""
    rows = select(
        db,
        "SELECT r.id,"
        " (SELECT max(h.minute) FROM history h WHERE h.room = r.id AND h.minute < ?3),"
        " (SELECT max(u.time) FROM updates u WHERE u.room = r.id AND u.time < ?4)"
        " FROM rooms r WHERE r.workspace = ?1 AND r.path = ?2",
        *(workspace, path, minute, minute * MINUTE),
    )
    found = [
        (max(folded or 0, int((logged or 0) // MINUTE)), room) for room, folded, logged in rows
    ]
    newest, room = max(found, default=(0, 0))
    return Name(room, newest) if newest else None
