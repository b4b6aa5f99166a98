"""What a task is made from: one hash over the names and contents of all files that match."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence

from cloudide.agent.beneath import Root, split
from cloudide.agent.failures import Refused
from cloudide.protocol.agent import HASH_NAME, InputsHash

FILES_LIMIT = 50_000
BYTES_LIMIT = 1024 * 1024 * 1024
CHUNK = 1024 * 1024
# Large, and seldom what somebody means by `**`.
PASSED_OVER = (".git", "node_modules")
_WILD = re.compile(r"[*?\[]")


def hash_files(root: Root, patterns: Sequence[str]) -> InputsHash:
    """See `protocol.agent.HashInputs`. A pattern that matches nothing is as good as any.

    Raises:
        Refused: a pattern leads out of the root, or there is more than a task should wait for.
    """
    found: dict[str, None] = {}
    for pattern in patterns:
        for path in _matches(root, pattern):
            found[path] = None
            if len(found) > FILES_LIMIT:
                raise Refused("too_large", f"inputs match more than {FILES_LIMIT:,} files.")
    digest = hashlib.new(HASH_NAME)
    left = BYTES_LIMIT
    for path in sorted(found):
        content, size = _hash_of(root, path, left)
        left -= size
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + content)
    return InputsHash(digest.hexdigest(), len(found))


def expression(pattern: str) -> re.Pattern[str]:
    """A regular expression for whole paths. `**/` stands for any folders, none included."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:.*/)?")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif pattern[at] == "?":
            parts.append("[^/]")
            at += 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", r"\\").replace("[", r"\[")
            parts.append("[" + ("^" + inside[1:] if inside[0] == "!" else inside) + "]")
            at = end + 1
        else:
            parts.append(re.escape(pattern[at]))
            at += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise Refused("invalid", f"The pattern {pattern!r} is not one: {error}.") from error


def _matches(root: Root, pattern: str) -> Iterator[str]:
    parts = pattern.strip("/").split("/")
    fixed = parts[: next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts))]
    start = "/".join(fixed)
    split(start)  # refuses what leads out
    if len(fixed) == len(parts):
        # A plain name: a file, or a folder for all in it.
        try:
            with root.opened(start, os.O_PATH | os.O_NOFOLLOW) as descriptor:
                folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        except (FileNotFoundError, NotADirectoryError):
            return
        yield from _walk(root, start, parts) if folder else [start]
        return
    wanted = expression("/".join(parts))
    for path in _walk(root, start, parts):
        if wanted.fullmatch(path):
            yield path


def _walk(root: Root, start: str, named: list[str]) -> Iterator[str]:
    """The files below a folder; links are files here."""
    try:
        descriptor = root.open(start, os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        above = f"{start}/" if start else ""
        for folder, folders, files, opened in os.fwalk(".", dir_fd=descriptor):
            inner = above + (f"{folder[2:]}/" if folder != "." else "")
            links = [each for each in folders if _is_link(opened, each)]
            folders[:] = sorted(
                each
                for each in folders
                if each not in links and (each not in PASSED_OVER or each in named)
            )
            for name in (*files, *links):
                yield inner + name
    finally:
        os.close(descriptor)


def _is_link(folder: int, name: str) -> bool:
    try:
        os.readlink(name, dir_fd=folder)
    except OSError:
        return False
    return True


def _hash_of(root: Root, path: str, left: int) -> tuple[bytes, int]:
    """A file's digest and size. What cannot be read counts as that."""
    digest = hashlib.new(HASH_NAME)
    size = 0
    try:
        with root.parent(path) as (folder, name):
            try:
                target = os.readlink(name, dir_fd=folder)
            except OSError:
                pass
            else:
                return b"link" + hashlib.new(HASH_NAME, bytes(target)).digest(), 0
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with open(os.open(name, flags, dir_fd=folder), "rb") as file:
                if not os.path.isfile(f"/proc/self/fd/{file.fileno()}"):
                    return b"other", 0
                while chunk := file.read(CHUNK):
                    size += len(chunk)
                    if size > left:
                        raise Refused("too_large", "inputs match more than 1 GiB of files.")
                    digest.update(chunk)
    except OSError as error:
        return f"error {error.errno}".encode(), 0
    return b"file" + digest.digest(), size
