"""Archives: all of it or nothing, and nothing outside."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable

import pytest

from cloudide.agent import archives
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.protocol.agent import Unpack, UploadDone

Entry = tuple[str, bytes | None] | tarfile.TarInfo


def tar(*entries: Entry, mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload]
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            name, content = entry
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), 0o644
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def zipped(*entries: tuple[str, bytes], mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.fixture
def unpack(root: Root) -> Callable[..., UploadDone]:
    def unpack(
        archive: bytes, max_entries: int = 100, max_bytes: int = 1 << 20, strip: bool = True
    ) -> UploadDone:
        spool = archives.open_spool(root.fd)
        try:
            os.write(spool, archive)
            with root.opened("", os.O_RDONLY | os.O_DIRECTORY) as directory:
                request = Unpack("", "", 1 << 30, max_entries, max_bytes, strip)
                return archives.unpack(directory, spool, request)
        finally:
            os.close(spool)

    return unpack


def tree(root: Root) -> list[str]:
    return sorted(str(path.relative_to(root.path)) for path in root.path.rglob("*"))


Unpacker = Callable[..., UploadDone]


@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_unpacks_a_tar_without_its_single_top_folder(
    root: Root, unpack: Unpacker, mode: str
) -> None:
    script = tarfile.TarInfo("pkg-1.0/run.sh")
    script.mode = 0o4755
    archive = tar(
        ("pkg-1.0", None),
        ("pkg-1.0/src/a.py", b"print()\n"),
        script,
        special("pkg-1.0/link", tarfile.SYMTYPE, "src/a.py"),
        special("pkg-1.0/src/up", tarfile.SYMTYPE, "../run.sh"),
        special("pkg-1.0/hard", tarfile.LNKTYPE, "pkg-1.0/src/a.py"),
        mode=mode,
    )
    done = unpack(archive)
    assert (done.entries, done.bytes) == (5, 8)
    assert tree(root) == ["hard", "link", "run.sh", "src", "src/a.py", "src/up"]
    assert (root.path / "link").read_text() == "print()\n"
    assert (root.path / "hard").samefile(root.path / "src/a.py")
    assert stat.S_IMODE((root.path / "run.sh").stat().st_mode) == 0o755


def test_keeps_the_top_folder_when_asked(root: Root, unpack: Unpacker) -> None:
    unpack(tar(("top/file", b"x")), strip=False)
    assert tree(root) == ["top", "top/file"]


def test_unpacks_a_zip(root: Root, unpack: Unpacker) -> None:
    unpack(zipped(("a b/ü🐍.txt", b"text"), ("other/", b""), ("run", b"#!")))
    assert tree(root) == ["a b", "a b/ü🐍.txt", "other", "run"]


def test_unpacks_names_of_any_bytes(root: Root, unpack: Unpacker) -> None:
    names = ["it's", "new\nline", "-rf", os.fsdecode(b"\xff\xfe"), "x" * 255]
    unpack(tar(*((name, b"x") for name in names)))
    assert sorted(os.listdir(root.path)) == sorted(names)


OUTSIDE = {
    "climbs": tar(("../evil", b"x")),
    "climbs inside": tar(("a/../../evil", b"x")),
    "absolute": tar(("/etc/evil", b"x")),
    "link out": tar(special("link", tarfile.SYMTYPE, "../outside"), ("b", b"")),
    "absolute link": tar(special("link", tarfile.SYMTYPE, "/etc"), ("b", b"")),
    "link out after strip": tar(("top/a", b""), special("top/link", tarfile.SYMTYPE, "../x")),
    "link through a link": tar(
        special("a/b/up", tarfile.SYMTYPE, "../.."),
        special("a/b/out", tarfile.SYMTYPE, "up/.."),
        ("c", b""),
    ),
    "hard link out": tar(special("hard", tarfile.LNKTYPE, "../../etc/passwd"), ("b", b"")),
    "hard link to nothing": tar(special("hard", tarfile.LNKTYPE, "nothing"), ("b", b"")),
    "zip climbs": zipped(("../evil", b"x")),
    "zip absolute": zipped(("/evil", b"x")),
    "zip link out": zipped(("link", b"../../etc"), mode=0o120777),
}

INVALID = {
    "not an archive": b"hello, world\n" * 100,
    "empty": b"",
    "no entries": tar(),
    "no entries in a zip": zipped(),
    "cut off": tar(("file", os.urandom(5000)))[:3000],
    "cut off zip": zipped(("file", os.urandom(5000)))[:3000],
    "gzip of something else": b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"junk" * 100,
    "device": tar(special("null", tarfile.CHRTYPE)),
    "pipe": tar(special("pipe", tarfile.FIFOTYPE)),
    "zip pipe": zipped(("pipe", b""), mode=0o010644),
    "through a link": tar(special("a", tarfile.SYMTYPE, "."), ("a/file", b"x")),
    "through a file": tar(("a", b"x"), ("a/file", b"x")),
    "twice": tar(("a", b"x"), ("a", None)),
    "name too long": tar(("x" * 256, b"x")),
}

TOO_LARGE = {
    "bytes": tar(("bomb", bytes(2 << 20))),
    "zip bytes": zipped(("bomb", bytes(2 << 20))),
    "entries": tar(*((f"{n}", b"") for n in range(101))),
    "zip entries": zipped(*((f"{n}", b"") for n in range(101))),
    "header": tar(special("x", tarfile.SYMTYPE, "y" * (2 << 20)), mode="w"),
}


def lying_zip() -> bytes:
    """A megabyte and a half three times, whose headers claim one byte each."""
    archive = bytearray(zipped(*((f"{n}", bytes(1_500_000)) for n in range(3))))
    for signature, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = archive.find(signature)
        while start >= 0:
            struct.pack_into("<L", archive, start + at, 1)
            start = archive.find(signature, start + 4)
    return bytes(archive)


@pytest.mark.parametrize(
    ("code", "archive"),
    [
        *(pytest.param("outside", archive, id=name) for name, archive in OUTSIDE.items()),
        *(pytest.param("invalid", archive, id=name) for name, archive in INVALID.items()),
        *(pytest.param("too_large", archive, id=name) for name, archive in TOO_LARGE.items()),
    ],
)
def test_refuses_and_leaves_nothing(
    root: Root, unpack: Unpacker, code: str, archive: bytes
) -> None:
    with pytest.raises(Refused) as refused:
        unpack(archive)
    assert refused.value.failure.code == code, refused.value
    assert tree(root) == []


def test_sizes_that_lie_gain_nothing(root: Root, unpack: Unpacker) -> None:
    with pytest.raises(Refused):
        unpack(lying_zip())
    assert tree(root) == []


def test_replaces_nothing(root: Root, unpack: Unpacker) -> None:
    (root.path / "b").write_text("mine")
    with pytest.raises(Refused, match="'b' is there already") as refused:
        unpack(tar(("a", b""), ("b", b"theirs")))
    assert refused.value.failure.code == "exists"
    assert tree(root) == ["b"]
    assert (root.path / "b").read_text() == "mine"


def test_the_last_of_two_files_of_one_name_counts(root: Root, unpack: Unpacker) -> None:
    unpack(tar(("a", b"first"), ("a", b"second")))
    assert (root.path / "a").read_bytes() == b"second"
