"""Edits of servers: read as a whole, done in the rooms at once, taken back by who made them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from local import ADA, BOB, WORKSPACE, Collab, collaborating
from scripted import ROOT, span, uri

from cloudide.errors import CloudIDEError, Conflict, Denied, InvalidInput, NotFound, TooLarge
from cloudide.identity.permissions import Grant, Role
from cloudide.languages import edits
from cloudide.languages.editing import Editing
from cloudide.languages.edits import Create, Delete, Rename, splices
from cloudide.languages.lines import Lines
from cloudide.protocol.languages import Edited

Json = dict[str, Any]
GRANT = Grant(ADA, WORKSPACE, Role.EDITOR)


def change(line: int, start: int, end: int, text: str) -> Json:
    return {"range": span(line, start, end), "newText": text}


def in_file(path: str, *changes: Json) -> Json:
    return {"textDocument": {"uri": uri(path), "version": None}, "edits": [*changes]}


def test_edits_become_replacements_in_order() -> None:
    lines = Lines("one\r\ntw\U0001f600o\n")
    plan = edits.read(
        {
            "changes": {
                uri("a"): [change(1, 4, 5, "X\r\nY"), change(0, 0, 0, "1"), change(0, 0, 0, "2")]
            }
        },
        ROOT,
        "utf-16",
    )
    assert splices(lines, plan.texts["a"][0], "utf-16") == [
        (0, 0, "1"),
        (0, 0, "2"),
        (11, 12, "X\nY"),
    ]
    assert (plan.files, plan.edits) == (["a"], 3)


def test_the_whole_text_may_end_behind_its_last_line() -> None:
    plan = edits.read(
        {
            "changes": {
                uri("a"): [
                    {
                        **change(0, 0, 0, "new"),
                        "range": {
                            "start": {"line": 0, "character": 0},
                            "end": {"line": 9, "character": 0},
                        },
                    }
                ]
            }
        },
        ROOT,
        "utf-16",
    )
    assert splices(Lines("a\nb"), plan.texts["a"][0], "utf-16") == [(0, 3, "new")]


def test_files_are_named_as_at_their_place_in_the_order() -> None:
    steps: list[Json] = [
        in_file("old.py", change(0, 0, 0, "x")),
        {"kind": "rename", "oldUri": uri("old.py"), "newUri": uri("new.py")},
        in_file("new.py", change(0, 0, 1, "y")),
        {"kind": "create", "uri": uri("made.py")},
        in_file("made.py", change(0, 0, 0, "text")),
        {"kind": "delete", "uri": uri("gone.py")},
    ]
    plan = edits.read({"documentChanges": steps}, ROOT, "utf-16")
    assert [len(batch) for batch in plan.texts["old.py"]] == [1, 1]
    assert plan.operations == [
        Rename("old.py", "new.py"),
        Create("made.py", "text"),
        Delete("gone.py"),
    ]
    assert plan.files == ["gone.py", "made.py", "new.py"]


@pytest.mark.parametrize(
    "edit",
    [
        {"changes": {"file:///etc/passwd": [change(0, 0, 0, "x")]}},
        {"changes": {uri("../x"): [change(0, 0, 0, "x")]}},
        {"changes": {uri("a"): 7}},
        {"changes": {uri("a"): [{"range": span(0, 0, 0)}]}},
        {"changes": {uri("a"): [{"range": {"start": {"line": "0"}}, "newText": "x"}]}},
        {"changes": 7},
        {"documentChanges": 7},
        {"documentChanges": [{"kind": "explode", "uri": uri("a")}]},
        {"documentChanges": [{"kind": "rename", "oldUri": uri("a"), "newUri": "file:///tmp/a"}]},
        {
            "documentChanges": [
                {"kind": "delete", "uri": uri("a")},
                in_file("a", change(0, 0, 0, "x")),
            ]
        },
        {
            "documentChanges": [
                {"kind": "create", "uri": uri("a")},
                {"kind": "create", "uri": uri("a")},
            ]
        },
    ],
)
def test_what_is_no_edit_is_refused(edit: Json) -> None:
    with pytest.raises(InvalidInput):
        edits.read(edit, ROOT, "utf-16")


@pytest.mark.parametrize(
    "changes",
    [
        [change(0, 0, 2, "x"), change(0, 1, 3, "y")],
        [change(-1, 0, 0, "x")],
        [change(0, -1, 0, "x")],
    ],
)
def test_what_does_not_fit_the_text_is_refused(changes: list[Json]) -> None:
    plan = edits.read({"changes": {uri("a"): changes}}, ROOT, "utf-16")
    with pytest.raises(InvalidInput):
        splices(Lines("abc\n"), plan.texts["a"][0], "utf-16")


def test_too_much_is_refused() -> None:
    many = {uri(f"{n}"): [change(0, 0, 0, "x")] for n in range(edits.FILES + 1)}
    with pytest.raises(TooLarge):
        edits.read({"changes": many}, ROOT, "utf-16")


@asynccontextmanager
async def editing(tmp_path: Path) -> AsyncIterator[tuple[Collab, Editing]]:
    async with collaborating(tmp_path) as collab:
        yield collab, Editing(collab.link.agents, collab.rooms)


async def apply(work: Editing, edit: Json, **more: Any) -> Edited | None:
    plan = edits.read(edit, ROOT, "utf-16")
    is_current = more.get("is_current", lambda path, text: True)
    return await work.apply(GRANT, "Rename", plan, "utf-16", is_current)


async def test_open_and_unopened_files_change_together_and_back(tmp_path: Path) -> None:
    async with editing(tmp_path) as (collab, work):
        collab.write("a.py", b"name = 1\n")
        unopened = collab.write("b.py", b"from a import name\r\nname\r\n")
        async with collab.join("a.py", BOB) as bob:
            edited = await apply(
                work,
                {
                    "changes": {
                        uri("a.py"): [change(0, 0, 4, "other")],
                        uri("b.py"): [change(0, 14, 18, "other"), change(1, 0, 4, "other")],
                    }
                },
            )
            assert edited is not None
            assert (edited.files, edited.edits) == (["a.py", "b.py"], 3)
            await bob.until(lambda: str(bob) == "other = 1\n")
            assert unopened.read_bytes() == b"from a import other\r\nother\r\n"
            # What others do meanwhile stays.
            await bob.insert(0, "# mine\n")
            await bob.insert(len("# mine\nother"), "_too")
            await bob.saved()
            undone = await work.undo(GRANT, edited.id)
            assert undone.files == ["a.py", "b.py"]
            await bob.until(lambda: str(bob) == "# mine\nname_too = 1\n")
            assert unopened.read_bytes() == b"from a import name\r\nname\r\n"
            with pytest.raises(NotFound):
                await work.undo(GRANT, edited.id)
        await collab.unloaded("b.py")


async def test_an_edit_is_one_update_of_its_author(tmp_path: Path) -> None:
    async with editing(tmp_path) as (collab, work):
        collab.write("a.py", b"x x x\n")
        async with collab.join("a.py") as ada:
            before = collab.rooms._open[WORKSPACE, "a.py"].room.seq
            parts = [change(0, column, column + 1, "yy") for column in (0, 2, 4)]
            await apply(work, {"changes": {uri("a.py"): parts}})
            await ada.until(lambda: str(ada) == "yy yy yy\n")
            assert collab.rooms._open[WORKSPACE, "a.py"].room.seq == before + 1
            with collab.database() as db:
                authors = [row[0] for row in db.execute("select author from updates order by seq")]
            assert authors[-1] == "ada"


async def test_only_who_made_it_takes_it_back(tmp_path: Path) -> None:
    async with editing(tmp_path) as (collab, work):
        collab.write("a.py", b"x\n")
        edited = await apply(work, {"changes": {uri("a.py"): [change(0, 0, 1, "y")]}})
        assert edited is not None
        with pytest.raises(Denied):
            await work.undo(Grant(BOB, WORKSPACE, Role.OWNER), edited.id)
        with pytest.raises(NotFound):
            await work.undo(Grant(ADA, "another", Role.OWNER), edited.id)
        with pytest.raises(NotFound):
            await work.undo(GRANT, "e0")
        work.forget(WORKSPACE)
        with pytest.raises(NotFound):
            await work.undo(GRANT, edited.id)


async def test_all_or_nothing(tmp_path: Path) -> None:
    async with editing(tmp_path) as (collab, work):
        file = collab.write("a.py", b"x\n")
        collab.write("b.py", b"x\n")
        collab.write("c.bin", b"\0\0")
        fine = change(0, 0, 1, "y")
        refused: list[tuple[Json, type[CloudIDEError]]] = [
            ({"changes": {uri("a.py"): [fine], uri("missing.py"): [fine]}}, NotFound),
            ({"changes": {uri("a.py"): [fine], uri("c.bin"): [fine]}}, CloudIDEError),
            (
                {"changes": {uri("a.py"): [fine], uri("b.py"): [fine, change(0, 0, 1, "z")]}},
                InvalidInput,
            ),
            (
                {
                    "documentChanges": [
                        in_file("a.py", fine),
                        {"kind": "rename", "oldUri": uri("a.py"), "newUri": uri("b.py")},
                    ]
                },
                Conflict,
            ),
            (
                {
                    "documentChanges": [
                        in_file("a.py", fine),
                        {"kind": "delete", "uri": uri("no.py")},
                    ]
                },
                Conflict,
            ),
        ]
        for edit, error in refused:
            with pytest.raises(error):
                await apply(work, edit)
            assert file.read_bytes() == b"x\n"
            assert await collab.rooms.read(WORKSPACE, "a.py") in (b"x\n", None)
        with pytest.raises(Conflict):
            await apply(
                work, {"changes": {uri("a.py"): [fine]}}, is_current=lambda path, text: False
            )
        assert await apply(work, {"changes": {}}) is None
        assert await apply(work, {"changes": {uri("a.py"): [change(0, 0, 1, "x")]}}) is None


async def test_files_are_made_renamed_and_deleted_and_back(tmp_path: Path) -> None:
    async with editing(tmp_path) as (collab, work):
        collab.write("old.py", b"class Old: pass\n")
        collab.write("gone.py", b"text\n")
        steps: list[Json] = [
            in_file("old.py", change(0, 6, 9, "New")),
            {"kind": "rename", "oldUri": uri("old.py"), "newUri": uri("new.py")},
            {"kind": "create", "uri": uri("deep/made.py")},
            in_file("deep/made.py", change(0, 0, 0, "made\n")),
            {"kind": "delete", "uri": uri("gone.py")},
        ]
        edited = await apply(work, {"documentChanges": steps})
        assert edited is not None
        assert (collab.root / "new.py").read_bytes() == b"class New: pass\n"
        assert (collab.root / "deep/made.py").read_bytes() == b"made\n"
        assert not (collab.root / "old.py").exists()
        assert not (collab.root / "gone.py").exists()
        await work.undo(GRANT, edited.id)
        assert (collab.root / "old.py").read_bytes() == b"class Old: pass\n"
        assert (collab.root / "gone.py").read_bytes() == b"text\n"
        assert not (collab.root / "new.py").exists()
        assert not (collab.root / "deep/made.py").exists()
