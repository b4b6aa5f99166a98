"""The workspace root as a place that no path leads out of.

A check of a path's real location races with whoever swaps a folder for a link, so the kernel is
asked to resolve beneath the root in the same step that opens (openat2(2), RESOLVE_BENEATH). Links
that stay inside are followed. Where openat2 is missing (gVisor, old kernels), the path is walked
one component at a time with O_NOFOLLOW, and no link is followed at all.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from cloudide.agent import system
from cloudide.agent.failures import Refused

PATH_LIMIT = 4096  # bytes, as the kernel's PATH_MAX
RETRIES = 128  # how often a path is resolved anew when renames race with it
RESOLVE = system.RESOLVE_BENEATH | system.RESOLVE_NO_MAGICLINKS


class Root:
    """A directory and everything beneath it. Paths are those of the protocol ("" is the root).

    Methods raise `Refused` for a path that is not valid, and `OSError` as the kernel says; EXDEV
    and ELOOP mean that the path leads out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve(strict=True)
        self.fd = os.open(self.path, os.O_PATH | os.O_DIRECTORY)
        self.walks = not _has_openat2(self.fd)

    @classmethod
    def of(cls, descriptor: int) -> Root:
        """An open directory as a root; the descriptor then belongs to it."""
        root = cls.__new__(cls)
        root.path = Path(f"/proc/self/fd/{descriptor}")
        root.fd = descriptor
        root.walks = not _has_openat2(descriptor)
        return root

    def close(self) -> None:
        os.close(self.fd)

    def open(self, path: str, flags: int, mode: int = 0) -> int:
        """Open a path; the descriptor is the caller's to close."""
        parts = split(path)
        if not parts:
            return self._resolve(b".", flags, mode)
        if self.walks:
            return self._walk(parts, flags, mode)
        return self._resolve(b"/".join(parts), flags, mode)

    @contextmanager
    def opened(self, path: str, flags: int) -> Generator[int]:
        """`open`, closed at the end of the block."""
        descriptor = self.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def parent(self, path: str, *, create: bool = False) -> Generator[tuple[int, bytes]]:
        """The open directory that holds `path`, and the last name of it.

        `create` makes missing directories. The root itself has no parent (`Refused`).
        """
        parts = split(path)
        if not parts:
            raise Refused("invalid", "This cannot be done to the workspace's own folder.")
        *above, name = parts
        directory = self._directory(above, create)
        try:
            yield directory, name
        finally:
            os.close(directory)

    def make_directory(self, path: str) -> None:
        """Create a directory and its missing parents; EEXIST if something else is there."""
        os.close(self._directory(split(path), create=True))

    def _directory(self, parts: list[bytes], create: bool) -> int:
        """A readable descriptor of a directory, made on the way when `create`."""
        flags = os.O_RDONLY | os.O_DIRECTORY
        joined = os.fsdecode(b"/".join(parts))
        try:
            return self.open(joined, flags)
        except FileNotFoundError:
            if not create or not parts:
                raise
        above = self._directory(parts[:-1], create)
        try:
            with suppress(FileExistsError):
                os.mkdir(parts[-1], dir_fd=above)
        finally:
            os.close(above)
        return self.open(joined, flags)

    def _resolve(self, path: bytes, flags: int, mode: int) -> int:
        for _ in range(RETRIES):
            try:
                if self.walks:  # only ever the root itself
                    return os.open(path, flags | os.O_CLOEXEC, mode, dir_fd=self.fd)
                return system.openat2(self.fd, path, flags, mode, RESOLVE)
            except BlockingIOError:
                continue  # a rename raced with a `..` in a link: it may be inside, look again
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    def _walk(self, parts: list[bytes], flags: int, mode: int) -> int:
        directory = os.dup(self.fd)
        try:
            for part in parts[:-1]:
                inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                os.close(directory)
                directory = inner
            return os.open(parts[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)
        except NotADirectoryError:
            if _is_link(parts, self.fd):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
            raise
        finally:
            os.close(directory)


def split(path: str) -> list[bytes]:
    """The components of a path of the protocol.

    Raises:
        Refused: it is absolute, too long, or has an empty, `.`, `..` or impossible component.
    """
    if not path:
        return []
    if path.startswith("/"):
        raise Refused("outside", "Paths start at the workspace's folder, without a slash.")
    # Text from the link holds no surrogates; names in an archive may be any bytes.
    encoded = os.fsencode(path)
    if len(encoded) >= PATH_LIMIT or b"\0" in encoded:
        raise Refused("invalid", "The path is too long or holds a NUL character.")
    parts = encoded.split(b"/")
    if b".." in parts:
        raise Refused("outside", "A path may not climb with `..`.")
    if b"" in parts or b"." in parts:
        raise Refused("invalid", "A path may not hold empty or `.` components.")
    return parts


def _is_link(parts: list[bytes], root: int) -> bool:
    """Whether a component is a link; decides how a failure is worded, nothing else."""
    for end in range(1, len(parts) + 1):
        with suppress(OSError):
            if os.path.islink(f"/proc/self/fd/{root}/{os.fsdecode(b'/'.join(parts[:end]))}"):
                return True
    return False


def _has_openat2(root: int) -> bool:
    try:
        os.close(system.openat2(root, b".", os.O_PATH | os.O_DIRECTORY, 0, RESOLVE))
    except OSError as error:
        # EPERM: a seccomp profile older than the call.
        if error.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG):
            return False
        raise
    return True
