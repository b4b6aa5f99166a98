"""Listing, moving and deleting."""

from __future__ import annotations

import os

import pytest

from cloudide.agent import files
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused, refusal


def test_reads_up_to_the_limit(root: Root) -> None:
    (root.path / "file").write_bytes(b"12345")
    content = files.read(root, "file", 5, "", False)
    assert content.content == b"12345"
    assert files.read(root, "file", 5, content.hash, False).content is None
    with pytest.raises(Refused) as refused:
        files.read(root, "file", 4, "", False)
    assert refused.value.failure.code == "too_large"


def test_lists_folders_first_and_level_by_level(root: Root) -> None:
    (root.path / "b/c").mkdir(parents=True)
    (root.path / "b/c/deep").touch()
    (root.path / "A").touch()
    (root.path / "z").symlink_to("b")
    os.mkfifo(root.path / "pipe")
    tree = files.list_tree(root, "", 2, 100)
    assert [(entry.path, entry.type) for entry in tree.entries] == [
        ("b", "directory"),
        ("A", "file"),
        ("pipe", "other"),
        ("z", "symlink"),
        ("b/c", "directory"),
    ]
    assert not tree.truncated
    assert [entry.path for entry in files.list_tree(root, "", 3, 100).entries][-1] == "b/c/deep"
    cut = files.list_tree(root, "", 3, 2)
    assert ([entry.path for entry in cut.entries], cut.truncated) == (["b", "A"], True)


def test_names_that_are_not_text_are_listed_but_not_openable(root: Root) -> None:
    (root.path / os.fsdecode(b"\xff.txt")).touch()
    (entry,) = files.list_tree(root, "", 1, 10).entries
    assert (entry.path, entry.type) == ("\N{REPLACEMENT CHARACTER}.txt", "other")


def test_listing_does_not_follow_links(root: Root) -> None:
    (root.path / "folder").mkdir()
    (root.path / "folder/loop").symlink_to(".")
    assert [e.path for e in files.list_tree(root, "", 9, 10).entries] == ["folder", "folder/loop"]


def test_moves_without_replacing(root: Root) -> None:
    (root.path / "a").write_text("a")
    (root.path / "b").write_text("b")
    with pytest.raises(Refused) as refused:
        files.move(root, "a", "b")
    assert refused.value.failure.code == "exists"
    files.move(root, "a", "c")
    assert (root.path / "c").read_text() == "a"
    (root.path / "folder").mkdir()
    with pytest.raises(Refused) as refused:
        files.move(root, "folder", "folder/inner")
    assert refused.value.failure.code == "invalid"


def test_deletes_what_it_is_told_to(root: Root) -> None:
    inner = root.path / "folder/inner"
    inner.mkdir(parents=True)
    (root.path / "kept").mkdir()
    (root.path / "kept/file").touch()
    (inner / "link").symlink_to("../../kept")
    inner.chmod(0o500)
    with pytest.raises(OSError, match="Errno") as error:
        files.delete(root, "folder", False)
    assert refusal(error.value, "folder").failure.code == "not_empty"
    files.delete(root, "folder", True)
    assert [entry.path for entry in files.list_tree(root, "", 2, 10).entries] == [
        "kept",
        "kept/file",
    ]
    with pytest.raises(Refused):
        files.delete(root, "", True)


def test_makes_folders_with_their_parents(root: Root) -> None:
    files.make_directory(root, "a/b/c")
    files.make_directory(root, "a/b/c")
    (root.path / "file").touch()
    with pytest.raises(Refused) as refused:
        files.make_directory(root, "file")
    assert refused.value.failure.code == "exists"
    with pytest.raises(NotADirectoryError):
        files.make_directory(root, "file/inner")
