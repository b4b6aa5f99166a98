"""Reading, listing, moving and deleting beneath the root. Blocking: runs in threads."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat as modes
from collections import deque

from cloudide.agent import system
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused, refusal
from cloudide.protocol.agent import (
    CONTENT_LIMIT,
    HASH_NAME,
    Entry,
    EntryType,
    FileContent,
    Stat,
    Swap,
    Tree,
)

READ_TRIES = 3  # a file that changes while it is read is read again
DEPTH_LIMIT = 400  # folders below each other that are deleted in one go
LEFTOVER = re.compile(rb"\.(?P<stem>.+)\.[0-9a-f]{16}\.(?P<kind>part|swap)", re.DOTALL)


def digest(content: bytes) -> str:
    return hashlib.new(HASH_NAME, content, usedforsecurity=False).hexdigest()


def stat_of(status: os.stat_result) -> Stat:
    return Stat(
        type=_type_of(status.st_mode),
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        inode=status.st_ino,
        mode=modes.S_IMODE(status.st_mode),
    )


def stem(name: bytes) -> bytes:
    """What the part and swap files of `name` are called by; short enough to be given a suffix."""
    if len(name) <= 200:
        return name
    return name[:150] + hashlib.sha256(name).hexdigest()[:16].encode()


def read(root: Root, path: str, limit: int, known: str, swaps: bool) -> FileContent:
    limit = min(limit, CONTENT_LIMIT)
    with root.opened(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as file:
        before = os.fstat(file)
        if not modes.S_ISREG(before.st_mode):
            raise Refused("not_a_file", f"{path or 'The root'} is not a regular file.")
        content = _content(file, path, limit)
        for _ in range(READ_TRIES):
            after = os.fstat(file)
            if (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, len(content)):
                break
            content, before = _content(file, path, limit), after
    content_hash = digest(content)
    return FileContent(
        hash=content_hash,
        stat=stat_of(before),
        content=None if content_hash == known else content,
        swaps=_swaps(root, path) if swaps else [],
    )


def list_tree(root: Root, path: str, depth: int, limit: int) -> Tree:
    """Level by level, so that a listing cut short is complete at the top."""
    entries: list[Entry] = []
    pending = deque([(path, 1)])
    while pending:
        folder, level = pending.popleft()
        try:
            # The path is the caller's; what is found below it is not followed through links.
            flags = os.O_RDONLY | os.O_DIRECTORY | (os.O_NOFOLLOW if level > 1 else 0)
            with root.opened(folder, flags) as directory:
                found = _scan(directory, f"{folder}/" if folder else "", limit + 1)
        except OSError:
            if level == 1:
                raise
            continue  # went away, or may not be read: its own entry is listed all the same
        for entry, openable in found:
            if len(entries) >= limit:
                return Tree(entries, truncated=True)
            entries.append(entry)
            if entry.type == "directory" and openable and level < depth:
                pending.append((entry.path, level + 1))
    return Tree(entries)


def stat_paths(root: Root, paths: list[str]) -> list[Stat | None]:
    return [_stat_path(root, path) for path in paths]


def make_directory(root: Root, path: str) -> None:
    try:
        root.make_directory(path)
    except NotADirectoryError as error:
        with root.parent(path) as (directory, name):
            if _exists(directory, name):
                raise Refused("exists", f"{path} exists already and is not a folder.") from error
        raise


def move(root: Root, source: str, target: str) -> None:
    with (
        root.parent(source) as (source_directory, source_name),
        root.parent(target) as (target_directory, target_name),
    ):
        try:
            system.rename(
                source_directory,
                source_name,
                target_directory,
                target_name,
                system.RENAME_NOREPLACE,
            )
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise Refused("invalid", f"{target} is on another file system.") from error
            if error.errno == errno.EEXIST:
                raise refusal(error, target) from error
            if error.errno not in (errno.EINVAL, errno.ENOSYS):
                raise
            if f"{target}/".startswith(f"{source}/"):
                raise Refused("invalid", "A folder cannot be moved into itself.") from error
            # The file system cannot rename without replacing: look first.
            if _exists(target_directory, target_name):
                raise Refused("exists", f"{target} exists already.") from error
            os.rename(
                source_name, target_name, src_dir_fd=source_directory, dst_dir_fd=target_directory
            )


def delete(root: Root, path: str, recursive: bool) -> None:
    with root.parent(path) as (directory, name):
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if not modes.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=directory)
        elif recursive:
            remove_tree(directory, name)
        else:
            os.rmdir(name, dir_fd=directory)


def remove_tree(directory: int, name: bytes, depth: int = 0) -> None:
    """Delete a directory with all in it; links are removed, not followed."""
    if depth > DEPTH_LIMIT:
        raise Refused("invalid", "The folders are nested too deeply to be deleted in one go.")
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        inner = os.open(name, flags, dir_fd=directory)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=directory)
        inner = os.open(name, flags, dir_fd=directory)
    try:
        status = os.fstat(inner)
        if status.st_mode & 0o700 != 0o700 and status.st_uid == os.geteuid():
            os.fchmod(inner, 0o700)  # caches like to make their folders read-only
        for child in _names(inner):
            if modes.S_ISDIR(os.stat(child, dir_fd=inner, follow_symlinks=False).st_mode):
                remove_tree(inner, child, depth + 1)
            else:
                os.unlink(child, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=directory)


def read_descriptor(file: int, limit: int) -> bytes | None:
    """Everything from the present offset on; None if that is more than `limit` bytes."""
    chunks: list[bytes] = []
    left = limit + 1
    while left > 0 and (chunk := os.read(file, min(left, 1 << 20))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks) if left > 0 else None


def _content(file: int, path: str, limit: int) -> bytes:
    os.lseek(file, 0, os.SEEK_SET)
    # The size is asked first: reading a large file only to refuse it would cost its length.
    content = read_descriptor(file, limit) if os.fstat(file).st_size <= limit else None
    if content is None:
        raise Refused("too_large", f"{path} is larger than {limit / (1 << 20):g} MiB.")
    return content


def _swaps(root: Root, path: str) -> list[Swap]:
    """What interrupted writes left beside a file, as much as a frame holds."""
    found: list[Swap] = []
    left = CONTENT_LIMIT
    with root.parent(path) as (directory, name):
        for other in sorted(_names(directory)):
            match = LEFTOVER.fullmatch(other)
            if match is None or match["stem"] != stem(name) or match["kind"] != b"swap":
                continue
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(other, flags, dir_fd=directory)
            try:
                if not modes.S_ISREG(os.fstat(file).st_mode):
                    continue
                content = read_descriptor(file, left)
            finally:
                os.close(file)
            if content is not None:
                left -= len(content)
                found.append(Swap(os.fsdecode(other), content))
    return found


def _scan(directory: int, prefix: str, limit: int) -> list[tuple[Entry, bool]]:
    """Entries of a directory, folders first, and whether each one's name can be sent back."""
    found: list[tuple[bool, str, Entry, bool]] = []
    with os.scandir(directory) as scan:
        for item in scan:
            raw = os.fsencode(item.name)
            if LEFTOVER.fullmatch(raw):
                continue
            try:
                status = item.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            name = raw.decode(errors="replace")
            openable = name.encode() == raw
            entry = Entry(
                path=prefix + name,
                type=_type_of(status.st_mode) if openable else "other",
                size=status.st_size,
                mtime=status.st_mtime,
            )
            found.append((entry.type != "directory", name.casefold(), entry, openable))
            if len(found) > 4 * limit:
                break  # far more than can be told
    found.sort(key=lambda row: (row[0], row[1], row[2].path))
    return [(entry, openable) for _, _, entry, openable in found[:limit]]


def _stat_path(root: Root, path: str) -> Stat | None:
    try:
        with root.opened(path, os.O_PATH) as file:
            return stat_of(os.fstat(file))
    except (OSError, Refused):
        pass
    try:
        with root.parent(path) as (directory, name):  # a link that leads nowhere, or out
            return stat_of(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except (OSError, Refused):
        return None


def _exists(directory: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _names(directory: int) -> list[bytes]:
    # The list of a descriptor is text with surrogate escapes, whatever the names are.
    return [os.fsencode(name) for name in os.listdir(directory)]


def _type_of(mode: int) -> EntryType:
    if modes.S_ISREG(mode):
        return "file"
    if modes.S_ISDIR(mode):
        return "directory"
    return "symlink" if modes.S_ISLNK(mode) else "other"
