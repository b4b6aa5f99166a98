"""The mirror of a room: equal to it whatever people type, with positions that move along."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text
from test_lines import TEXT, apply

from cloudide.languages import documents
from cloudide.languages.documents import Document, Stamps
from cloudide.languages.positions import back, forward, range_back, range_forward

EDIT = st.tuples(st.integers(0, 40), st.integers(0, 6), TEXT)


def mirrored(text: str) -> tuple[Text, Document]:
    doc: Doc[Text] = Doc()
    room = doc.get("content", type=Text)
    room += text
    document = Document("a.py", "file:///a.py", "python", text, 1, Stamps())

    def changed(event: Any) -> None:
        document.apply(event.delta, document.versions[-1].seq + 1)

    room.observe(changed)
    return room, document


def edit(room: Text, edits: list[tuple[int, int, str]]) -> None:
    """One transaction of several edits; places count characters."""
    with room.doc.transaction():
        for at, length, inserted in edits:
            text = str(room)
            start = len(text[:at].encode())
            end = len(text[: at + length].encode())
            if end > start:
                del room[start:end]
            if inserted:
                room.insert(start, inserted)


@settings(max_examples=150, deadline=None)
@given(TEXT, st.lists(st.lists(EDIT, max_size=4), max_size=5))
def test_what_a_server_makes_of_the_changes_is_the_room(
    text: str, transactions: list[list[tuple[int, int, str]]]
) -> None:
    room, document = mirrored(text)
    start = document.version
    for edits in transactions:
        before = document.version
        edit(room, edits)
        assert str(document) == str(room)
        assert document.version - before in (0, 1)
    for encoding in ("utf-8", "utf-16"):
        mirror = text
        for change in document.since(start) or []:
            mirror = apply(mirror, change, encoding)
        assert mirror == str(room)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_a_room_that_was_loaded_anew_is_followed_by_one_change(text: str, new: str) -> None:
    _, document = mirrored(text)
    document.replace(new, 9)
    assert str(document) == new
    assert len(document.versions) <= 2


def test_versions_keep_the_text_and_the_update_they_came_with() -> None:
    room, document = mirrored("one\n")
    stamps = [document.version]
    for n in range(20):
        edit(room, [(0, 0, str(n % 10))])
        stamps.append(document.version)
    for n in (5, 10, 20):
        version = document.at(stamps[n])
        assert version is not None
        assert version.seq == 1 + n
        assert str(version.text).count("\n") == 1
        assert len(str(version.text)) == 4 + n
    last = document.at(10_000)
    assert last is not None
    assert str(last.text) == str(room)
    assert len(last.text.hash()) == 64


def test_positions_go_forward_and_back() -> None:
    room, document = mirrored("def f():\n    return name\n")
    stamp = document.version
    edit(room, [(0, 0, "import os\n"), (24, 0, "😀")])
    changes = document.since(stamp)
    assert changes is not None
    assert forward((1, 11), changes, "utf-16") == (2, 13)
    assert forward((1, 11), changes, "utf-8") == (2, 15)
    assert range_forward((1, 11), (1, 15), changes, "utf-16") == ((2, 13), (2, 17))
    assert back((2, 13), changes, "utf-16") == (1, 11)
    assert range_back((2, 13), (2, 17), changes, "utf-16") == ((1, 11), (1, 15))


def test_a_range_that_was_removed_is_empty_and_typing_beside_it_does_not_widen_it() -> None:
    room, document = mirrored("a name b\n")
    stamp = document.version
    edit(room, [(2, 0, "xx"), (8, 0, "yy")])
    assert range_forward((0, 2), (0, 6), document.since(stamp) or [], "utf-16") == (
        (0, 4),
        (0, 8),
    )
    stamp = document.version
    edit(room, [(3, 8, "")])
    start, end = range_forward((0, 4), (0, 8), document.since(stamp) or [], "utf-16")
    assert start == end == (0, 3)


def test_what_is_older_than_what_is_kept_is_not_guessed() -> None:
    room, document = mirrored("x")
    stamp = document.version
    for _ in range(documents.VERSIONS + 1):
        edit(room, [(0, 0, "y")])
    assert document.since(stamp) is None
    assert document.at(stamp) is None
    assert len(document.versions) == documents.VERSIONS


def test_line_ends_that_only_python_knows_are_noticed() -> None:
    room, document = mirrored("x")
    assert not document.irregular
    edit(room, [(0, 0, "\x0c")])
    assert document.irregular
    assert mirrored("a\u2028b")[1].irregular
