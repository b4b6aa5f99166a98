"""Build contexts: what an archive may hold, and that the same files are the same context."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from imagery import packed

from cloudide.errors import CloudIDEError, InvalidInput, TooLarge
from cloudide.images.contexts import ContextLimits, Contexts

MIB = 1024 * 1024


@pytest.fixture
def contexts(tmp_path: Path) -> Contexts:
    return Contexts(tmp_path / "contexts", ContextLimits(size=MIB, entries=100))


def add(contexts: Contexts, archive: bytes) -> str:
    path = contexts.folder / "upload"
    path.write_bytes(archive)
    try:
        return contexts.add(path)
    finally:
        path.unlink()


def tar_of(*members: tuple[str, bytes, str]) -> bytes:
    """A tar with members of any type: name, type and link's target."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    return archive.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return archive.getvalue()


def test_the_same_files_are_the_same_context(contexts: Contexts) -> None:
    one = add(contexts, packed({"Dockerfile": "FROM scratch\n", "a/b": "text"}))
    two = add(contexts, packed({"a/b": "text", "Dockerfile": "FROM scratch\n"}, mode="w"))
    three = add(contexts, zip_of({"./a/b": b"text", "Dockerfile": b"FROM scratch\n"}))
    assert one == two == three
    assert add(contexts, packed({"Dockerfile": "FROM scratch\n", "a/b": "other"})) != one
    assert contexts.dockerfile(one, "Dockerfile") == "FROM scratch\n"
    assert [path.name for path in contexts.folder.iterdir() if "context" in path.name] == []


def test_what_is_ignored_stays_out(contexts: Contexts) -> None:
    files = {
        ".dockerignore": "*.log\nDockerfile\nnode_modules\n!kept.log\n",
        "Dockerfile": "FROM scratch\n",
        "a.log": "",
        "kept.log": "",
        "node_modules/x/y": "",
        ".git/config": "",
        ".ca/bundle.pem": "",
    }
    assert contexts.names(add(contexts, packed(files))) == ["Dockerfile", "kept.log"]


SYMLINK, HARD, DEVICE = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE


@pytest.mark.parametrize(
    ("archive", "word"),
    [
        (packed({"../out": "x"}), "climbs out"),
        (packed({"/etc/passwd": "x"}), "climbs out"),
        (packed({"a/../../out": "x"}), "climbs out"),
        (tar_of(("out", SYMLINK, "/etc/passwd")), "leads out"),
        (tar_of(("a/out", SYMLINK, "../../etc")), "leads out"),
        (tar_of(("in", SYMLINK, "here"), ("in/below", tarfile.REGTYPE, "")), "below a link"),
        (tar_of(("hard", HARD, "/etc/passwd")), "a hard link"),
        (tar_of(("null", DEVICE, "")), "a device"),
        (b"no archive at all", "no archive"),
        (packed({"a": "b"})[:40], "no archive"),
    ],
    ids=lambda value: value if isinstance(value, str) else "archive",
)
def test_what_a_context_may_not_hold(contexts: Contexts, archive: bytes, word: str) -> None:
    with pytest.raises(InvalidInput, match=word):
        add(contexts, archive)
    assert list(contexts.folder.iterdir()) == []


@pytest.mark.parametrize(
    "archive",
    [
        packed({"bomb": bytes(2 * MIB)}),
        zip_of({"bomb": bytes(2 * MIB)}),
        packed({f"file{n}": "" for n in range(101)}),
    ],
    ids=["tar.gz", "zip", "entries"],
)
def test_bombs(contexts: Contexts, archive: bytes) -> None:
    with pytest.raises(TooLarge):
        add(contexts, archive)
    assert list(contexts.folder.iterdir()) == []


def test_what_nothing_needs_goes(contexts: Contexts) -> None:
    kept = add(contexts, packed({"Dockerfile": "FROM scratch\n"}))
    gone = add(contexts, packed({"Dockerfile": "FROM other\n"}))
    contexts.collect([kept], older_than=4e9)
    assert contexts.path(kept).exists()
    with pytest.raises(CloudIDEError, match="upload it again"):
        contexts.dockerfile(gone, "Dockerfile")
