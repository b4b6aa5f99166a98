"""Promise 23: the audit log cannot be changed unnoticed."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from record import record

from cloudide.identity.audit import Audit, Tampered
from cloudide.storage.database import Database

KEY = b"k" * 32
RECORDS = 20
TEXTS = ("user", "name", "token", "address", "action", "workspace", "detail", "outcome", "mac")


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    return tmp_path / "cloudide.sqlite"


@pytest.fixture
async def audit(path: Path) -> AsyncIterator[Audit]:
    database = Database(path)
    await database.start()
    audit = Audit(database, KEY)
    await audit.begin()
    for number in range(1, RECORDS):
        await audit.append(
            "workspace.start",
            user=f"u{number % 3}",
            name="Ada \u202e🐍",
            workspace=f"w{number}",
            detail={"number": number},
        )
    yield audit
    await database.close()


async def test_records_come_back_as_they_were_made(audit: Audit) -> None:
    assert await audit.verify() == RECORDS
    newest, *_, oldest = await audit.page(limit=5)
    assert (newest.seq, oldest.seq) == (RECORDS, RECORDS - 4)
    assert (newest.name, newest.detail) == ("Ada \u202e🐍", '{"number": 19}')
    assert [each.seq for each in await audit.page(before=3)] == [2, 1]
    assert [each.seq for each in await audit.page(workspace="w7")] == [8]
    assert [each.seq async for each in audit.all()] == list(range(1, RECORDS + 1))


async def test_a_log_begins_with_its_key_and_an_empty_one_was_emptied(tmp_path: Path) -> None:
    path = tmp_path / "new.sqlite"
    database = Database(path)
    await database.start()
    (tmp_path / "audit.key.new").write_bytes(KEY)  # of a start that was interrupted
    audit = await Audit.start(database, tmp_path)
    assert await audit.verify() == 1
    audit = await Audit.start(database, tmp_path)
    assert await audit.verify() == 1
    assert (tmp_path / "audit.key").read_bytes() == KEY
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM audit")
        db.execute("DELETE FROM audit_head")
    for _ in range(2):
        with pytest.raises(Tampered, match=r"empty|Record 1 is missing"):
            await audit.verify()
        await (await Audit.start(database, tmp_path)).append("exec")
    await database.close()


async def test_many_at_the_same_moment_are_one_chain(audit: Audit) -> None:
    await asyncio.gather(*(audit.append("exec", user=f"u{number}") for number in range(50)))
    assert await audit.verify() == RECORDS + 50


async def test_another_key_finds_it_changed(audit: Audit, path: Path) -> None:
    database = Database(path)
    await database.start()
    with pytest.raises(Tampered):
        await Audit(database, b"x" * 32).verify()
    await database.close()


async def test_a_log_that_was_cut_short_is_not_made_whole_by_going_on(
    audit: Audit, path: Path
) -> None:
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM audit WHERE seq > 10")
    with pytest.raises(Tampered, match="ends with record 10"):
        await audit.verify()
    for _ in range(3):
        await audit.append("exec")  # people go on
    with pytest.raises(Tampered, match="Record 11 is missing"):
        await audit.verify()


def mutation(db: sqlite3.Connection, chance: random.Random) -> str:
    """Change something; returns what."""
    one, other = chance.sample(range(1, RECORDS + 1), 2)
    kind = chance.choice(
        [
            "text",
            "text",
            "text",
            "time",
            "delete",
            "swap",
            "cut",
            "number",
            "insert",
            "head",
            "copy",
        ]
    )
    if kind == "text":
        column = chance.choice(TEXTS)
        (value,) = db.execute(f"SELECT {column} FROM audit WHERE seq = ?", (one,)).fetchone()  # noqa: S608
        at = chance.randrange(len(value) + 1)
        changed = value[:at] + chance.choice("xyz01 \0é") + value[at + chance.randrange(2) :]
        if changed == value:
            changed += "!"
        db.execute(f"UPDATE audit SET {column} = ? WHERE seq = ?", (changed, one))  # noqa: S608
    elif kind == "time":
        db.execute("UPDATE audit SET at = at + ? WHERE seq = ?", (chance.choice([-1, 0.5]), one))
    elif kind == "delete":
        db.execute("DELETE FROM audit WHERE seq = ?", (one,))
    elif kind == "swap":
        for source, target in ((one, -1), (other, one), (-1, other)):
            db.execute("UPDATE audit SET seq = ? WHERE seq = ?", (target, source))
    elif kind == "cut":
        db.execute("DELETE FROM audit WHERE seq > ?", (one - 1,))
        if chance.random() < 0.5:
            db.execute("UPDATE audit_head SET seq = ?", (one - 1,))
        if chance.random() < 0.3:
            db.execute("DELETE FROM audit_head")
    elif kind == "number":
        db.execute("UPDATE audit SET seq = seq + 1000 WHERE seq >= ?", (one,))
    elif kind == "head":
        column = chance.choice(["seq", "mac"])
        db.execute(f"UPDATE audit_head SET {column} = {column} || '1'")  # noqa: S608
    else:
        # One more at the end, made of one that is there.
        fields = ", ".join(TEXTS)
        db.execute(
            f"INSERT INTO audit (seq, at, {fields}) "  # noqa: S608
            f"SELECT {RECORDS + 1}, at, {fields} FROM audit WHERE seq = {one}"
        )
        if kind == "insert":
            db.execute("UPDATE audit_head SET seq = seq + 1")
    return kind


async def test_every_mutation_is_detected(
    audit: Audit, path: Path, soak: Callable[[int, int], int]
) -> None:
    chance = random.Random(23)  # noqa: S311
    count = soak(10_000, 300)
    with sqlite3.connect(path) as db:
        kept: dict[str, list[Any]] = {
            table: db.execute(f"SELECT * FROM {table}").fetchall()  # noqa: S608
            for table in ("audit", "audit_head")
        }
    kinds: set[str] = set()
    for number in range(count):
        with sqlite3.connect(path) as db:
            kind = mutation(db, chance)
            kinds.add(kind)
        try:
            await audit.verify()
        except Tampered:
            pass
        else:
            pytest.fail(f"mutation {number}, {kind}, was not detected")
        with sqlite3.connect(path) as db:
            for table, rows in kept.items():
                db.execute(f"DELETE FROM {table}")  # noqa: S608
                places = ", ".join("?" * len(rows[0]))
                db.executemany(f"INSERT INTO {table} VALUES ({places})", rows)  # noqa: S608
        db.close()
    assert len(kinds) == 9
    assert await audit.verify() == RECORDS
    record(23, f"{count:,} mutations of an audit log of {RECORDS} records, each of them detected.")
