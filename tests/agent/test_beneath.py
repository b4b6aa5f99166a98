"""No path leads out of the root."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudide.agent import exchange, files
from cloudide.agent.beneath import Root, split
from cloudide.agent.failures import Refused, refusal
from cloudide.protocol.agent import WriteFile

ODD = ["a b", "it's", 'say "hi"', "new\nline", "🐍", "-rf", "$(x)", "*", "tab\t", "ü" * 100, ".x"]


@pytest.mark.parametrize("path", ["/etc", "..", "a/../b", "a/.."])
def test_paths_that_climb_are_refused(path: str) -> None:
    with pytest.raises(Refused) as refused:
        split(path)
    assert refused.value.failure.code == "outside"


@pytest.mark.parametrize("path", ["a//b", "./a", "a/", "a\0b", "x" * 5000])
def test_malformed_paths_are_refused(path: str) -> None:
    with pytest.raises(Refused) as refused:
        split(path)
    assert refused.value.failure.code == "invalid"


@pytest.mark.parametrize("name", ODD)
def test_odd_names_work(either_root: Root, name: str) -> None:
    path = f"{name}/{name}"
    exchange.write(either_root, WriteFile(path, b"content", "", parents=True))
    assert files.read(either_root, path, 100, "", False).content == b"content"
    assert [e.path for e in files.list_tree(either_root, "", 2, 10).entries] == [name, path]


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "inside/../../secret"])
def test_links_that_lead_out_are_not_followed(
    either_root: Root, tmp_path: Path, target: str
) -> None:
    (tmp_path / "secret").write_text("secret")
    (either_root.path / "inside").mkdir()
    (either_root.path / "link").symlink_to(target)
    with pytest.raises(OSError, match="Errno") as error:
        files.read(either_root, "link", 100, "", False)
    assert refusal(error.value, "link").failure.code == "outside"
    with pytest.raises(OSError, match="Errno"):
        exchange.write(either_root, WriteFile("link", b"mine"))
    assert (tmp_path / "secret").read_text() == "secret"


def test_links_inside_are_followed_by_the_kernel(root: Root) -> None:
    (root.path / "folder").mkdir()
    (root.path / "folder/file").write_text("content")
    (root.path / "link").symlink_to("folder")
    assert files.read(root, "link/file", 100, "", False).content == b"content"
    stat = files.stat_paths(root, ["link/file", "nothing"])
    assert stat[0] is not None
    assert stat[0].type == "file"
    assert stat[1] is None


def test_magic_links_are_not_followed(either_root: Root) -> None:
    (either_root.path / "self").symlink_to("/proc/self/root")
    with pytest.raises(OSError, match="Errno"):
        files.list_tree(either_root, "self", 1, 10)
