"""Comments on text: threads that are anchored to a place in a file and go along with it.

An anchor is a relative position of Yjs (`Y.encodeRelativePosition`), which names the character that
it is before and so stays right while people edit. It is the browser's to make and to resolve. For
files that nobody has open, and texts that were made anew, line and words are kept beside it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence

import msgspec
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from cloudide.errors import Conflict, Denied, InvalidInput, NotFound
from cloudide.identity.permissions import Grant
from cloudide.storage.database import Database
from cloudide.storage.tables import comment_replies, comment_threads, users
from cloudide.together.chat import said

THREADS = 500  # of a workspace
REPLIES = 200  # of a thread
TEXT_LIMIT = 4000  # characters
ANCHOR_LIMIT = 400  # characters, in base64
QUOTE_LIMIT = 300


class Place(msgspec.Struct, frozen=True):
    """Where a thread is: from `start` to `end`, anchors in base64. `line` (from 1) and `quote` are
    what was there when it began."""

    path: str
    start: str
    end: str
    line: int
    quote: str


class Reply(msgspec.Struct, frozen=True):
    author: str
    name: str
    color: str
    text: str
    at: float


class Thread(msgspec.Struct, frozen=True):
    """`replies` begins with the comment itself. `resolved_by`: the name of who did, "" if open."""

    id: str
    place: Place
    replies: list[Reply]
    resolved: bool = False
    resolved_by: str = ""


class Comments:
    """`on_change(workspace)` hears when `list` would differ."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.on_change: Callable[[str], None] = lambda workspace: None

    async def list(self, workspace: str) -> list[Thread]:
        """All threads, those that began last first."""
        chosen = (
            select(comment_threads)
            .where(comment_threads.c.workspace == workspace)
            .order_by(comment_threads.c.created_at.desc())
        )
        written = (
            select(comment_replies, users.c.name, users.c.color)
            .join(comment_threads, comment_threads.c.id == comment_replies.c.thread)
            .join(users, users.c.id == comment_replies.c.author, isouter=True)
            .where(comment_threads.c.workspace == workspace)
            .order_by(comment_replies.c.id)
        )
        async with self._database.begin() as db:
            threads = [row._mapping for row in await db.execute(chosen)]
            replies: dict[str, list[Reply]] = {}
            for row in (row._mapping for row in await db.execute(written)):
                reply = Reply(
                    row["author"], row["name"] or "", row["color"] or "", row["text"], row["at"]
                )
                replies.setdefault(row["thread"], []).append(reply)
        return [
            Thread(
                row["id"],
                Place(row["path"], row["start"], row["end"], row["line"], row["quote"]),
                replies.get(row["id"], []),
                row["resolved_by"] != "",
                row["resolved_by"],
            )
            for row in threads
        ]

    async def begin(self, grant: Grant, place: Place, text: str) -> str:
        """Returns the thread's id.

        Raises:
            InvalidInput: it is none. Conflict: there are too many.
        """
        if len(place.start) > ANCHOR_LIMIT or len(place.end) > ANCHOR_LIMIT:
            raise InvalidInput("The anchor is not one.")
        text, id, now = said(text, TEXT_LIMIT), "c" + secrets.token_hex(8), time.time()
        values = {
            "id": id,
            "workspace": grant.workspace,
            "path": place.path,
            "start": place.start,
            "end": place.end,
            "line": max(1, place.line),
            "quote": place.quote[:QUOTE_LIMIT],
            "created_at": now,
            "resolved_by": "",
        }
        async with self._database.begin() as db:
            there = select(func.count()).where(comment_threads.c.workspace == grant.workspace)
            if (await db.execute(there)).scalar_one() >= THREADS:
                raise Conflict(f"There are {THREADS} comments already; delete some first.")
            await db.execute(insert(comment_threads).values(**values))
            await _add(db, id, grant, text, now)
        self.on_change(grant.workspace)
        return id

    async def reply(self, grant: Grant, id: str, text: str) -> None:
        """Raises: NotFound, InvalidInput, Conflict: there are too many replies."""
        text = said(text, TEXT_LIMIT)
        async with self._database.begin() as db:
            await _check(db, grant.workspace, id)
            count = select(func.count()).where(comment_replies.c.thread == id)
            if (await db.execute(count)).scalar_one() >= REPLIES:
                raise Conflict(f"This has {REPLIES} replies already; begin another comment.")
            await _add(db, id, grant, text, time.time())
        self.on_change(grant.workspace)

    async def resolve(self, grant: Grant, id: str, *, resolved: bool) -> None:
        """Raises: NotFound."""
        by = (grant.person.name or "somebody") if resolved else ""
        async with self._database.begin() as db:
            await _check(db, grant.workspace, id)
            await db.execute(
                update(comment_threads).where(comment_threads.c.id == id).values(resolved_by=by)
            )
        self.on_change(grant.workspace)

    async def delete(self, grant: Grant, id: str, *, anybodys: bool) -> None:
        """Raises: NotFound. Denied: somebody else began it, and not `anybodys` may be deleted."""
        first = (
            select(comment_replies.c.author)
            .where(comment_replies.c.thread == id)
            .order_by(comment_replies.c.id)
            .limit(1)
        )
        async with self._database.begin() as db:
            await _check(db, grant.workspace, id)
            author = (await db.execute(first)).scalar_one_or_none()
            if author != grant.person.id and not anybodys:
                raise Denied("Only who wrote a comment, or an owner, can delete it; resolve it.")
            await db.execute(delete(comment_threads).where(comment_threads.c.id == id))
        self.on_change(grant.workspace)

    async def moved(self, workspace: str, source: str, target: str) -> None:
        """A file or folder has another name: what is said of it goes along."""
        paths = select(comment_threads.c.path).where(comment_threads.c.workspace == workspace)
        async with self._database.begin() as db:
            names: Sequence[str] = (await db.execute(paths.distinct())).scalars().all()
            changed = [name for name in names if f"{name}/".startswith(f"{source}/")]
            for name in changed:
                await db.execute(
                    update(comment_threads)
                    .where(comment_threads.c.workspace == workspace, comment_threads.c.path == name)
                    .values(path=target + name[len(source) :])
                )
        if changed:
            self.on_change(workspace)


async def _check(db: AsyncConnection, workspace: str, id: str) -> None:
    found = select(comment_threads.c.id).where(
        comment_threads.c.id == id, comment_threads.c.workspace == workspace
    )
    if (await db.execute(found)).first() is None:
        raise NotFound("There is no such comment; somebody may have deleted it.")


async def _add(db: AsyncConnection, id: str, grant: Grant, text: str, now: float) -> None:
    values = {"thread": id, "author": grant.person.id, "text": text, "at": now}
    await db.execute(insert(comment_replies).values(**values))
