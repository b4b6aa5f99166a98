"""System calls that Python does not offer: openat2(2), renameat2(2), fallocate(2)."""

from __future__ import annotations

import ctypes
import os

OPENAT2 = 437  # the same number on every architecture
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_BENEATH = 0x08
FALLOC_FL_KEEP_SIZE = 0x01

_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


def openat2(directory: int, path: bytes, flags: int, mode: int, resolve: int) -> int:
    """Open `path` below `directory` under the restrictions `resolve`; a new descriptor.

    Raises:
        OSError: EXDEV when the path climbs out, EAGAIN when a rename raced, ENOSYS or EPERM when
            the kernel or a seccomp profile does not know the call.
    """
    how = _How(flags | os.O_CLOEXEC, mode if flags & os.O_CREAT else 0, resolve)
    # syscall(2) is variadic: every argument is given the width that the kernel reads.
    result = _libc.syscall(
        ctypes.c_long(OPENAT2),
        ctypes.c_long(directory),
        ctypes.c_char_p(path),
        ctypes.byref(how),
        ctypes.c_size_t(ctypes.sizeof(how)),
    )
    if result < 0:
        raise _error(path)
    return result


def rename(
    source_directory: int, source: bytes, target_directory: int, target: bytes, flags: int
) -> None:
    """renameat2(2) with RENAME_NOREPLACE or RENAME_EXCHANGE.

    Raises:
        OSError: EINVAL or ENOSYS when the file system or kernel cannot do it.
    """
    result = _libc.renameat2(
        ctypes.c_int(source_directory),
        ctypes.c_char_p(source),
        ctypes.c_int(target_directory),
        ctypes.c_char_p(target),
        ctypes.c_uint(flags),
    )
    if result < 0:
        raise _error(source)


def reserve(file: int, size: int) -> None:
    """Make sure that the first `size` bytes can be written; the file's length stays as it is.

    Raises:
        OSError: ENOSPC when they cannot, EOPNOTSUPP when the file system does not say.
    """
    result = _libc.fallocate(
        ctypes.c_int(file),
        ctypes.c_int(FALLOC_FL_KEEP_SIZE),
        ctypes.c_int64(0),
        ctypes.c_int64(size),
    )
    if result < 0:
        raise _error(b"")


def _error(path: bytes) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), os.fsdecode(path))
