"""Chat and comments of a workspace: what is kept, who hears of it, and what goes along."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import insert

from cloudide.errors import Denied, InvalidInput, NotFound
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.storage.database import Database
from cloudide.storage.tables import users, workspaces
from cloudide.together import chat as chat_module
from cloudide.together.chat import Chat
from cloudide.together.comments import Comments, Place

ADA = Grant(workspace="one", person=Person("ada", "Ada", "#a00"), role=Role.EDITOR)
BO = Grant(workspace="one", person=Person("bo", "Bo", "#00a"), role=Role.EDITOR)
OTHER = Grant(workspace="two", person=Person("bo", "Bo", "#00a"), role=Role.OWNER)
PLACE = Place("src/a.py", "AQ==", "Ag==", 3, "price = 1")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    async with database.begin() as db:
        for id, name in (("ada", "Ada"), ("bo", "Bo")):
            row = {"id": id, "name": name, "color": "", "admin": False, "created_at": 0}
            await db.execute(insert(users).values(**row))
        for id in ("one", "two"):
            row = {"id": id, "name": id, "image": "base", "owner": "ada", "team": None}
            more = {"desired_state": "running", "generation": 1, "created_at": 0}
            await db.execute(insert(workspaces).values(**row, **more))
    yield database
    await database.close()


async def test_the_last_messages_are_kept_and_come_in_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_module, "KEPT", 7)
    monkeypatch.setattr(chat_module, "PAGE", 4)
    chat = Chat(database)
    heard: list[str] = []
    chat.on_message = lambda workspace, message: heard.append(f"{workspace} {message.text}")
    for number in range(9):
        await chat.say(ADA if number % 2 else BO, f" {number}\n")
    await chat.say(OTHER, "elsewhere")
    assert heard == [*(f"one {n}" for n in range(9)), "two elsewhere"]
    last, more = await chat.read("one")
    assert [(each.text, each.name) for each in last] == [
        ("5", "Ada"),
        ("6", "Bo"),
        ("7", "Ada"),
        ("8", "Bo"),
    ]
    assert more
    first, more = await chat.read("one", last[0].id)
    assert ([each.text for each in first], more) == (["2", "3", "4"], False)


@pytest.mark.parametrize("text", ["", " \n", "x" * 4001, "\x1b[2J"], ids=["0", "n", "long", "esc"])
async def test_what_is_no_message_is_refused(database: Database, text: str) -> None:
    with pytest.raises(InvalidInput):
        await Chat(database).say(ADA, text)


async def test_a_thread_is_answered_resolved_and_goes_along_with_its_file(
    database: Database,
) -> None:
    comments = Comments(database)
    changes: list[str] = []
    comments.on_change = changes.append
    id = await comments.begin(ADA, PLACE, "Why?")
    await comments.reply(BO, id, "Because.")
    await comments.resolve(BO, id, resolved=True)
    await comments.moved("one", "src", "lib/src")
    await comments.moved("two", "lib", "x")
    (thread,) = await comments.list("one")
    assert [(each.name, each.text) for each in thread.replies] == [
        ("Ada", "Why?"),
        ("Bo", "Because."),
    ]
    assert (thread.resolved, thread.resolved_by) == (True, "Bo")
    assert thread.place == Place("lib/src/a.py", "AQ==", "Ag==", 3, "price = 1")
    assert changes == ["one"] * 4
    await comments.resolve(ADA, id, resolved=False)
    assert not (await comments.list("one"))[0].resolved
    assert not await comments.list("two")


async def test_threads_are_of_their_workspace_and_of_who_began_them(database: Database) -> None:
    comments = Comments(database)
    id = await comments.begin(ADA, PLACE, "Mine")
    for attempt in (
        comments.reply(OTHER, id, "x"),
        comments.resolve(OTHER, id, resolved=True),
        comments.delete(OTHER, id, anybodys=True),
    ):
        with pytest.raises(NotFound):
            await attempt
    with pytest.raises(Denied):
        await comments.delete(BO, id, anybodys=False)
    await comments.delete(BO, id, anybodys=True)
    assert not await comments.list("one")
    with pytest.raises(InvalidInput):
        await comments.begin(ADA, Place("a", "x" * 401, "", 1, ""), "anchor")
