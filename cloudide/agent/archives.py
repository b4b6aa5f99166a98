"""Unpacking an archive: all of it is checked first, then it appears at once, or not at all.

The archive is read twice. The first reading decompresses everything and counts what really comes
out, so that sizes in headers cannot lie. The second writes into a hidden directory; its top-level
entries are then renamed into place. Blocking: runs in a thread.
"""

from __future__ import annotations

import gzip
import lzma
import os
import secrets
import stat as modes
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Protocol

from cloudide.agent import system
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.agent.files import remove_tree
from cloudide.protocol.agent import Unpack, UploadDone

HEADER_LIMIT = 1024 * 1024  # bytes of one header: tar's extended headers may claim any size
DIRECTORY_LIMIT = 256  # bytes of a zip's central directory for each entry that is allowed
OVERHEAD = 4096  # bytes of headers and padding for each entry of a tar
NAME_LIMIT = 255  # bytes of one component
COPY = 256 * 1024
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class Item:
    """One entry: where it goes, what it is, and how to read it."""

    def __init__(
        self, parts: tuple[bytes, ...], kind: str, mode: int, mtime: float, link: bytes = b""
    ) -> None:
        self.parts = parts
        self.kind = kind  # file, directory, symlink or hardlink
        self.mode = mode
        self.mtime = mtime
        self.link = link
        self.content: IO[bytes] | None = None


class Archive(Protocol):
    def items(self) -> Iterator[Item]:
        """All entries, in order; `content` is readable until the next one is asked for."""
        ...


def open_spool(directory: int) -> int:
    """A file without a name on the same file system; it is gone when it is closed."""
    try:
        return os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        name = _hidden_name()
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        spool = os.open(name, flags, 0o600, dir_fd=directory)
        os.unlink(name, dir_fd=directory)
        return spool


def unpack(directory: int, spool: int, request: Unpack) -> UploadDone:
    """Check the spooled archive and unpack it into the directory.

    Raises:
        Refused: it is not an archive, or one with something in it that is not allowed.
    """
    try:
        plan = _Plan(request)
        with _opened(spool, request) as archive:
            for item in archive.items():
                plan.check(item)
        plan.finish()
        with _opened(spool, request) as archive:
            return _extract(directory, archive, plan)
    except DAMAGED as error:
        raise Refused("invalid", f"The archive is damaged: {error}") from error
    except (EOFError, ValueError, NotImplementedError, struct.error, RuntimeError) as error:
        raise Refused("invalid", f"The archive is damaged or cannot be read: {error}") from error


class _Plan:
    """What the first reading found out."""

    def __init__(self, request: Unpack) -> None:
        self._request = request
        self._kinds: dict[tuple[bytes, ...], str] = {}
        self._links: list[Item] = []
        self._tops: set[bytes] = set()
        self._entries = 0
        self._bytes = 0
        self.strip = 0

    def check(self, item: Item) -> None:
        self._entries += 1
        if self._entries > self._request.max_entries:
            raise Refused(
                "too_large", f"The archive has more than {self._request.max_entries} entries."
            )
        if item.content is not None:
            while chunk := item.content.read(COPY):
                self._bytes += len(chunk)
                if self._bytes > self._request.max_bytes:
                    raise Refused(
                        "too_large",
                        "The archive's content is larger than "
                        f"{self._request.max_bytes / (1 << 20):g} MiB.",
                    )
        if not item.parts:
            return
        former = self._kinds.get(item.parts)
        if former is not None and {former, item.kind} not in ({"file"}, {"directory"}):
            raise Refused("invalid", f"The archive holds {_shown(item)} twice.")
        self._kinds[item.parts] = item.kind
        self._tops.add(item.parts[0])
        if item.link:
            self._links.append(item)

    def finish(self) -> None:
        """Checks that need all entries."""
        if not self._kinds:
            raise Refused("invalid", "The archive is empty.")
        for parts in self._kinds:
            for end in range(1, len(parts)):
                if self._kinds.get(parts[:end], "directory") != "directory":
                    shown = os.fsdecode(b"/".join(parts))
                    raise Refused("invalid", f"The archive's entry {shown!r} lies in a non-folder.")
        if self._request.strip and len(self._tops) == 1:
            (top,) = self._tops
            if self._kinds.get((top,), "directory") == "directory" and len(self._kinds) > 1:
                self.strip = 1
        for item in self._links:
            if item.kind == "hardlink":
                if self._kinds.get(tuple(item.link.split(b"/"))) != "file":
                    raise Refused("outside", f"The archive's link {_shown(item)} has no target.")
            elif not _stays_inside(item, self.strip):
                raise Refused(
                    "outside", f"The archive's link {_shown(item)} leads out of the archive."
                )

    @property
    def tops(self) -> list[bytes]:
        return sorted({p[self.strip] for p in self._kinds if len(p) > self.strip})


def _stays_inside(item: Item, strip: int) -> bool:
    """Whether a symbolic link cannot lead out, whatever other links its target goes through.

    Its folder is a real one, so leading `..` climb as far as they seem to; after anything else a
    `..` might climb from wherever a link led.
    """
    if item.link.startswith(b"/"):
        return False
    steps = [step for step in item.link.split(b"/") if step not in (b"", b".")]
    climb = 0
    while climb < len(steps) and steps[climb] == b"..":
        climb += 1
    return b".." not in steps[climb:] and climb <= len(item.parts) - 1 - strip


def _extract(directory: int, archive: Archive, plan: _Plan) -> UploadDone:
    for top in plan.tops:
        _must_be_free(directory, top)
    staging = _hidden_name()
    os.mkdir(staging, 0o700, dir_fd=directory)
    try:
        descriptor = os.open(
            staging, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory
        )
        # Through the descriptor: whoever swaps the folder for a link gains nothing.
        area = Root.of(descriptor)
        try:
            done = _write(area, archive, plan)
            _move_in(descriptor, directory, plan.tops)
        finally:
            area.close()
        return done
    finally:
        remove_tree(directory, staging)


def _write(area: Root, archive: Archive, plan: _Plan) -> UploadDone:
    entries = size = 0
    folders: list[tuple[str, int]] = []
    for item in archive.items():
        parts = item.parts[plan.strip :]
        if not parts:
            continue
        entries += 1
        path = b"/".join(parts).decode(errors="surrogateescape")
        if item.kind == "directory":
            area.make_directory(path)
            folders.append((path, item.mode & 0o777 | 0o700))
            continue
        with area.parent(path, create=True) as (folder, name):
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            if item.kind == "symlink":
                os.symlink(item.link, name, dir_fd=folder)
            elif item.kind == "hardlink":
                source = item.link.split(b"/")[plan.strip :]
                where = b"/".join(source).decode(errors="surrogateescape")
                with area.parent(where) as (other, target):
                    os.link(target, name, src_dir_fd=other, dst_dir_fd=folder)
            else:
                size += _write_file(folder, name, item)
    for path, mode in folders:
        with area.opened(path, os.O_RDONLY | os.O_DIRECTORY) as folder:
            os.fchmod(folder, mode)
    return UploadDone(entries=entries, bytes=size)


def _write_file(folder: int, name: bytes, item: Item) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    size = 0
    with open(os.open(name, flags, 0o600, dir_fd=folder), "wb", buffering=0) as file:
        while item.content is not None and (chunk := item.content.read(COPY)):
            size += len(chunk)
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) or 0 :]
        os.fchmod(file.fileno(), item.mode & 0o777 | 0o600)
        with suppress(OverflowError, OSError):  # dates before and after what the disk can hold
            os.utime(file.fileno(), (item.mtime, item.mtime))
    return size


def _move_in(staging: int, directory: int, tops: list[bytes]) -> None:
    moved: list[bytes] = []
    try:
        for top in tops:
            try:
                system.rename(staging, top, directory, top, system.RENAME_NOREPLACE)
            except FileExistsError:
                raise _clash(top) from None
            except OSError as error:
                if error.errno is None or error.errno not in (22, 38):  # EINVAL, ENOSYS
                    raise
                _must_be_free(directory, top)
                os.rename(top, top, src_dir_fd=staging, dst_dir_fd=directory)
            moved.append(top)
    except BaseException:
        for top in moved:
            os.rename(top, top, src_dir_fd=directory, dst_dir_fd=staging)
        raise


def _must_be_free(directory: int, name: bytes) -> None:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    raise _clash(name)


def _clash(name: bytes) -> Refused:
    return Refused("exists", f"{os.fsdecode(name)!r} is there already; nothing was unpacked.")


# ── formats ─────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _opened(spool: int, request: Unpack) -> Generator[Archive]:
    start = os.pread(spool, 512, 0)
    os.lseek(spool, 0, os.SEEK_SET)
    budget = request.max_bytes + (request.max_entries + 64) * OVERHEAD
    with open(os.dup(spool), "rb") as file:
        if start.startswith(b"\x1f\x8b"):
            with gzip.GzipFile(fileobj=file, mode="rb") as unzipped:
                yield _Tar(_Forward(unzipped, budget))
        elif start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            yield _Zip(file, request.max_entries)
        elif start[257:262] == b"ustar":
            yield _Tar(_Forward(file, budget))
        else:
            raise Refused(
                "invalid", "This is not an archive: a .tar.gz, .tar or .zip file is expected."
            )


class _Forward:
    """A decompressed stream that is read forwards only, within a budget and in small pieces."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile, budget: int) -> None:
        self._stream = stream
        self._budget = budget
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = 0) -> int:
        if whence or position < self._position:
            raise tarfile.ReadError("the archive's entries overlap")
        while self._position < position:
            if not self.read(min(COPY, position - self._position)):
                break
        return self._position

    def read(self, size: int) -> bytes:
        if size > HEADER_LIMIT:
            raise Refused("too_large", "The archive holds a header of an unreasonable size.")
        data = self._stream.read(size)
        self._position += len(data)
        if self._position > self._budget:
            raise Refused("too_large", "The archive's content is larger than allowed.")
        return data


class _Tar:
    def __init__(self, stream: _Forward) -> None:
        self._stream = stream

    def items(self) -> Iterator[Item]:
        # GNU and pax long names are told apart by tarfile; `errors` keeps names that are not UTF-8.
        with tarfile.TarFile.taropen("archive", "r", self._stream) as tar:  # pyright: ignore[reportArgumentType]
            while (member := tar.next()) is not None:
                tar.members.clear()  # pyright: ignore - they would all be kept
                item = self._item(member)
                if item.kind == "file":
                    item.content = tar.extractfile(member)
                yield item

    def _item(self, member: tarfile.TarInfo) -> Item:
        if member.sparse is not None or member.type == tarfile.GNUTYPE_SPARSE:  # pyright: ignore
            raise Refused("invalid", f"The archive's entry {member.name!r} is a sparse file.")
        if member.isreg():
            kind = "file"
        elif member.isdir():
            kind = "directory"
        elif member.issym():
            kind = "symlink"
        elif member.islnk():
            kind = "hardlink"
        else:
            raise Refused("invalid", f"The archive's entry {member.name!r} is a device or pipe.")
        name = _encode(member.name)
        link = _encode(member.linkname) if kind in ("symlink", "hardlink") else b""
        if kind == "hardlink":
            link = b"/".join(_parts(link))
        return Item(_parts(name), kind, member.mode, float(member.mtime), link)


class _Zip:
    def __init__(self, file: IO[bytes], max_entries: int) -> None:
        self._file = file
        self._max_entries = max_entries

    def items(self) -> Iterator[Item]:
        _check_central_directory(self._file, self._max_entries)
        with zipfile.ZipFile(self._file) as archive:
            for info in archive.infolist():
                if info.flag_bits & 0x1:
                    raise Refused("invalid", "The archive is encrypted.")
                mode = info.external_attr >> 16
                parts = _parts(_encode(info.filename))
                if info.is_dir():
                    yield Item(parts, "directory", mode or 0o755, 0)
                    continue
                if modes.S_IFMT(mode) not in (0, modes.S_IFREG, modes.S_IFLNK):
                    raise Refused(
                        "invalid", f"The archive's entry {info.filename!r} is a device or pipe."
                    )
                with archive.open(info) as content:
                    if modes.S_ISLNK(mode):
                        link = content.read(4097)
                        if not 0 < len(link) <= 4096 or b"\0" in link:
                            raise Refused("invalid", f"The link {info.filename!r} is not valid.")
                        yield Item(parts, "symlink", 0o777, 0, link)
                        continue
                    item = Item(parts, "file", mode or 0o644, _zip_time(info))
                    item.content = content
                    yield item


def _check_central_directory(file: IO[bytes], max_entries: int) -> None:
    """Refuse a directory too large to be held in memory (APPNOTE.TXT 4.3.16, 4.3.14)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 66_000))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise zipfile.BadZipFile("it has no end record")
    length: int = struct.unpack_from("<L", tail, at + 12)[0]
    record = tail.rfind(b"PK\x06\x06", 0, at)
    if length == 0xFFFFFFFF and record >= 0 and len(tail) >= record + 48:
        length = struct.unpack_from("<Q", tail, record + 40)[0]
    if length > min(size, (max_entries + 16) * DIRECTORY_LIMIT):
        raise Refused("too_large", f"The archive has more than {max_entries} entries.")
    file.seek(0)


def _zip_time(info: zipfile.ZipInfo) -> float:
    import time

    try:
        return time.mktime((*info.date_time, 0, 0, -1))
    except (OverflowError, ValueError):
        return 0.0


def _parts(name: bytes) -> tuple[bytes, ...]:
    """The components of an entry's name.

    Raises:
        Refused: it is absolute, climbs, or cannot be a name on this disk.
    """
    shown = os.fsdecode(name)
    if name.startswith(b"/"):
        raise Refused("outside", f"The archive's entry {shown!r} has an absolute path.")
    parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in parts:
        raise Refused("outside", f"The archive's entry {shown!r} climbs out with `..`.")
    if b"\0" in name or any(len(part) > NAME_LIMIT for part in parts):
        raise Refused("invalid", f"The archive's entry {shown[:80]!r} has an impossible name.")
    return parts


def _encode(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


def _shown(item: Item) -> str:
    return repr(os.fsdecode(b"/".join(item.parts)))


def _hidden_name() -> bytes:
    return b".unpack." + secrets.token_hex(8).encode() + b".part"
