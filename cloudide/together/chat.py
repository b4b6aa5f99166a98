"""The chat of a workspace: its last messages, kept with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from sqlalchemy import delete, insert, select

from cloudide.errors import InvalidInput
from cloudide.identity.permissions import Grant
from cloudide.storage.database import Database
from cloudide.storage.tables import chat_messages, users

KEPT = 1000  # messages of a workspace
TEXT_LIMIT = 4000  # characters
PAGE = 100


class Message(msgspec.Struct, frozen=True):
    """`author` is an id of a person, `at` seconds since the epoch. The text is plain: whoever shows
    it makes links of `path:line` and of addresses."""

    id: int
    author: str
    name: str
    color: str
    text: str
    at: float


class Chat:
    """`on_message(workspace, message)` hears of each new one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.on_message: Callable[[str, Message], None] = lambda workspace, message: None

    async def say(self, grant: Grant, text: str) -> Message:
        """Raises: InvalidInput: nothing is said, or too much."""
        text = said(text, TEXT_LIMIT)
        person, now = grant.person, time.time()
        values = {"workspace": grant.workspace, "author": person.id, "text": text, "at": now}
        async with self._database.begin() as db:
            added = insert(chat_messages).values(**values).returning(chat_messages.c.id)
            id = (await db.execute(added)).scalar_one()
            oldest = (
                select(chat_messages.c.id)
                .where(chat_messages.c.workspace == grant.workspace)
                .order_by(chat_messages.c.id.desc())
                .offset(KEPT)
                .limit(1)
            )
            await db.execute(
                delete(chat_messages).where(
                    chat_messages.c.workspace == grant.workspace,
                    chat_messages.c.id <= oldest.scalar_subquery(),
                )
            )
        message = Message(id, person.id, person.name, person.color, text, now)
        self.on_message(grant.workspace, message)
        return message

    async def read(self, workspace: str, before: int | None = None) -> tuple[list[Message], bool]:
        """The last messages (before the one named `before`), oldest first; and if there are more.

        A message of somebody whose account is gone has no name.
        """
        chosen = (
            select(chat_messages, users.c.name, users.c.color)
            .join(users, users.c.id == chat_messages.c.author, isouter=True)
            .where(chat_messages.c.workspace == workspace)
            .order_by(chat_messages.c.id.desc())
            .limit(PAGE + 1)
        )
        if before is not None:
            chosen = chosen.where(chat_messages.c.id < before)
        async with self._database.begin() as db:
            rows = [row._mapping for row in await db.execute(chosen)]
        return [_message(row) for row in reversed(rows[:PAGE])], len(rows) > PAGE


def said(text: str, limit: int) -> str:
    """Raises: InvalidInput: it is empty, too long, or has characters that are none."""
    text = text.strip()
    if not text or len(text) > limit:
        raise InvalidInput(f"Write 1 to {limit:,} characters.")
    if any(letter < " " and letter not in "\n\t" for letter in text):
        raise InvalidInput("Leave control characters out.")
    return text


def _message(row: Mapping[Any, Any]) -> Message:
    name, color = row["name"] or "", row["color"] or ""
    return Message(row["id"], row["author"], name, color, row["text"], row["at"])
