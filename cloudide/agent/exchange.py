"""Replacing a file by compare-and-swap, so that whatever somebody else wrote is never lost.

The new content is complete and synced under another name before it changes places with the file
(RENAME_EXCHANGE); only then is what was displaced looked at. There is no moment at which the file
is missing or half written, and no race: what was displaced is in hand and can be merged.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import stat as modes
import threading
from contextlib import suppress

from cloudide.agent import system
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.agent.files import LEFTOVER, digest, read_descriptor, stat_of, stem
from cloudide.protocol.agent import CONTENT_LIMIT, HASH_NAME, Swap, WriteFile, Written

TRIES = 8  # a file that comes and goes while it is written
CANNOT = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV, errno.EBUSY)

_in_place = threading.Lock()  # between the re-check and the last byte nobody of us may write


class _Elsewhere(Exception):
    """The file cannot be exchanged; write it in place."""


def write(root: Root, request: WriteFile) -> Written:
    path, expected = request.path, request.expected
    with root.parent(path, create=request.parents) as (directory, name):
        if LEFTOVER.fullmatch(name):
            raise Refused("invalid", f"{path} is a name kept for the workspace's own use.")
        for _ in range(TRIES):
            try:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            except FileNotFoundError:
                if expected:
                    raise
                try:
                    return _create(directory, name, request)
                except FileExistsError:
                    if expected == "":
                        raise
                    continue  # somebody made it just now, and it is to be replaced
            if modes.S_ISDIR(status.st_mode):
                raise Refused("not_a_file", f"{path} is a folder.")
            if expected == "":
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            try:
                if not _exchangeable(status, directory, name):
                    raise _Elsewhere
                return _exchange(directory, name, status, request)
            except FileNotFoundError:
                if expected is not None:
                    raise
                continue
            except _Elsewhere:
                return _write_in_place(root, request)
    raise Refused("conflict", f"{path} keeps changing; try again.")


def put(root: Root, part: Part, name: bytes, path: str, expected: str | None) -> Written:
    """Put a finished part in the place of `name`, as `Upload` says.

    Raises:
        Refused: `conflict`, when the file is not what was expected; it stays as it was.
    """
    directory = part.directory
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        if expected:
            raise
        return Written("", stat_of(part.create(name, 0o644)), created=True)
    if modes.S_ISDIR(status.st_mode):
        raise Refused("not_a_file", f"{path} is a folder.")
    if expected == "":
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    try:
        if not _exchangeable(status, directory, name):
            raise _Elsewhere
        own = part.exchange(name, status)
    except _Elsewhere:
        return _copy_in_place(root, part, path, expected)
    if expected is not None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.open(part.swap, flags, dir_fd=directory)
        try:
            matches = digest_of(file) == expected
        finally:
            os.close(file)
        if not matches:
            _put_back(part, name)
            raise Refused("conflict", f"{path} has changed on disk.")
    os.unlink(part.swap, dir_fd=directory)
    return Written("", stat_of(own))


def digest_of(file: int) -> str:
    """The hash of a whole open file."""
    running = hashlib.new(HASH_NAME, usedforsecurity=False)
    os.lseek(file, 0, os.SEEK_SET)
    while chunk := os.read(file, 1 << 20):
        running.update(chunk)
    return running.hexdigest()


def release(root: Root, path: str, swap: str) -> None:
    """Unlink a swap file; one that is gone already is fine."""
    with root.parent(path) as (directory, name):
        match = LEFTOVER.fullmatch(os.fsencode(swap))
        if match is None or match["kind"] != b"swap" or match["stem"] != stem(name):
            raise Refused("invalid", f"{swap!r} is not a swap file of {path}.")
        with suppress(FileNotFoundError):
            os.unlink(swap, dir_fd=directory)


class Part:
    """A file under a name of our own beside its target, removed again unless it is put in place."""

    def __init__(self, directory: int, name: bytes) -> None:
        token = secrets.token_hex(8).encode()
        self.directory = directory
        self.name = b"." + stem(name) + b"." + token + b".part"
        self.swap = b"." + stem(name) + b"." + token + b".swap"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.file = os.open(self.name, flags, 0o600, dir_fd=directory)

    def write(self, content: bytes) -> None:
        write_all(self.file, content)

    def discard(self) -> None:
        if self.file >= 0:
            os.close(self.file)
            self.file = -1
        with suppress(FileNotFoundError):
            os.unlink(self.name, dir_fd=self.directory)

    def create(self, name: bytes, mode: int) -> os.stat_result:
        """Take `name`, which nobody has.

        Raises:
            FileExistsError: somebody has.
        """
        os.fchmod(self.file, mode & 0o777)
        os.fsync(self.file)
        status = os.fstat(self.file)
        _rename_to_free(self.directory, self.name, name)
        return status

    def exchange(self, name: bytes, status: os.stat_result) -> os.stat_result:
        """Change places with `name`, whose mode and, where possible, group this takes over.

        What was displaced is at `self.swap` afterwards. Returns the new file's status.
        """
        own = os.fstat(self.file)
        if own.st_gid != status.st_gid:
            with suppress(PermissionError):
                os.fchown(self.file, -1, status.st_gid)
        os.fchmod(self.file, modes.S_IMODE(status.st_mode))
        os.fsync(self.file)
        own = os.fstat(self.file)
        os.rename(self.name, self.swap, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        try:
            system.rename(self.directory, self.swap, self.directory, name, system.RENAME_EXCHANGE)
        except OSError as error:
            with suppress(FileNotFoundError):
                os.unlink(self.swap, dir_fd=self.directory)
            if error.errno in CANNOT:
                raise _Elsewhere from error
            raise
        return own


def write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]


def _create(directory: int, name: bytes, request: WriteFile) -> Written:
    part = Part(directory, name)
    try:
        part.write(request.content)
        status = part.create(name, request.mode)
    finally:
        part.discard()
    return Written(digest(request.content), stat_of(status), created=True)


def _exchange(directory: int, name: bytes, status: os.stat_result, request: WriteFile) -> Written:
    try:
        part = Part(directory, name)
    except PermissionError as error:
        raise _Elsewhere from error  # the folder is not ours, the file may be
    try:
        part.write(request.content)
        own = part.exchange(name, status)
    finally:
        part.discard()
    new_hash = digest(request.content)
    written = Written(new_hash, stat_of(own))
    displaced = _displaced(part, name, request.path)
    if request.expected is None or digest(displaced) == request.expected:
        os.unlink(part.swap, dir_fd=directory)
        return written
    swap = Swap(os.fsdecode(part.swap), displaced)
    return Written(new_hash, written.stat, displaced=swap)


def _displaced(part: Part, name: bytes, path: str) -> bytes:
    """The content that was displaced.

    Raises:
        Refused: it is no file, or too large to be merged; it is back in its place.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        file = os.open(part.swap, flags, dir_fd=part.directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP, errno.EACCES, errno.ENXIO):
            _put_back(part, name)
            raise Refused("conflict", f"{path} was replaced while it was written.") from error
        raise
    try:
        content = None
        regular = modes.S_ISREG(os.fstat(file).st_mode)
        if regular:
            content = read_descriptor(file, CONTENT_LIMIT)
    finally:
        os.close(file)
    if content is None:
        _put_back(part, name)
        if regular:
            raise Refused("too_large", f"{path} has grown too large to be edited.")
        raise Refused("conflict", f"{path} was replaced while it was written.")
    return content


def _put_back(part: Part, name: bytes) -> None:
    """Exchange once more. If somebody wrote yet again, that stays behind as a swap file."""
    with suppress(FileNotFoundError):
        mine = os.stat(name, dir_fd=part.directory, follow_symlinks=False)
        system.rename(part.directory, part.swap, part.directory, name, system.RENAME_EXCHANGE)
        back = os.stat(part.swap, dir_fd=part.directory, follow_symlinks=False)
        if (mine.st_ino, mine.st_mtime_ns) == (back.st_ino, back.st_mtime_ns):
            os.unlink(part.swap, dir_fd=part.directory)


def _write_in_place(root: Root, request: WriteFile) -> Written:
    """Re-check and overwrite; ends with the old or the new content unless the machine dies."""
    path = request.path
    flags = os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY
    with _in_place, root.opened(path, flags) as file:
        status = os.fstat(file)
        if not modes.S_ISREG(status.st_mode):
            raise Refused("not_a_file", f"{path} is not a regular file.")
        former = read_descriptor(file, CONTENT_LIMIT)
        if former is None:
            raise Refused("too_large", f"{path} has grown too large to be edited.")
        if request.expected is not None and digest(former) != request.expected:
            raise Refused("conflict", f"{path} has changed on disk.")
        _reserve(file, len(request.content))
        try:
            _overwrite(file, request.content)
        except OSError:
            _overwrite(file, former)
            raise
        return Written(digest(request.content), stat_of(os.fstat(file)))


def _copy_in_place(root: Root, part: Part, path: str, expected: str | None) -> Written:
    size = os.fstat(part.file).st_size
    with _in_place, root.opened(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY) as file:
        if not modes.S_ISREG(os.fstat(file).st_mode):
            raise Refused("not_a_file", f"{path} is not a regular file.")
        if expected is not None and digest_of(file) != expected:
            raise Refused("conflict", f"{path} has changed on disk.")
        _reserve(file, size)
        os.lseek(file, 0, os.SEEK_SET)
        os.lseek(part.file, 0, os.SEEK_SET)
        while chunk := os.read(part.file, 1 << 20):
            write_all(file, chunk)
        os.ftruncate(file, size)
        os.fsync(file)
        return Written("", stat_of(os.fstat(file)))


def _reserve(file: int, size: int) -> None:
    """Find out that the disk is full before anything is overwritten."""
    try:
        system.reserve(file, max(1, size))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise


def _overwrite(file: int, content: bytes) -> None:
    os.lseek(file, 0, os.SEEK_SET)
    write_all(file, content)
    os.ftruncate(file, len(content))
    os.fsync(file)


def _exchangeable(status: os.stat_result, directory: int, name: bytes) -> bool:
    """A plain file of our own, with one name, on the same file system as its folder.

    Raises:
        PermissionError: it is a file that its owner made read-only.
    """
    if not modes.S_ISREG(status.st_mode) or status.st_nlink != 1:
        return False
    if status.st_uid != os.geteuid() or status.st_dev != os.fstat(directory).st_dev:
        return False
    # Exchanging needs no permission on the file itself; a read-only file is meant to stay.
    if not os.access(name, os.W_OK, dir_fd=directory, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return True


def _rename_to_free(directory: int, source: bytes, target: bytes) -> None:
    try:
        system.rename(directory, source, directory, target, system.RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
        os.link(source, target, src_dir_fd=directory, dst_dir_fd=directory)
        os.unlink(source, dir_fd=directory)
