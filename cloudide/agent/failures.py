"""Why a request fails, in words for the person who asked."""

from __future__ import annotations

import errno

from cloudide.protocol.agent import Failure, FailureCode


class Refused(Exception):
    """A request cannot be carried out; becomes a `Failure` on the wire."""

    def __init__(self, code: FailureCode, message: str) -> None:
        super().__init__(message)
        self.failure = Failure(code, message)


_CODES: dict[int, tuple[FailureCode, str]] = {
    errno.ENOENT: ("not_found", "{} does not exist."),
    errno.EEXIST: ("exists", "{} exists already."),
    errno.ENOTEMPTY: ("not_empty", "The folder {} is not empty."),
    errno.EXDEV: ("outside", "{} leads out of the workspace through a link."),
    errno.ELOOP: ("outside", "{} goes through a symbolic link that cannot be followed."),
    errno.ENOTDIR: ("not_a_directory", "Part of {} is not a folder."),
    errno.EISDIR: ("not_a_file", "{} is a folder."),
    errno.ENXIO: ("not_a_file", "{} is not a regular file."),
    errno.EACCES: ("denied", "The workspace's user may not do this to {}."),
    errno.EPERM: ("denied", "The workspace's user may not do this to {}."),
    errno.EROFS: ("denied", "{} is on a read-only file system."),
    errno.ETXTBSY: ("denied", "{} is a program that is running."),
    errno.ENOSPC: ("no_space", "The workspace's disk is full; {} was not written."),
    errno.EDQUOT: ("no_space", "The workspace's disk quota is used up; {} was not written."),
    errno.EFBIG: ("too_large", "{} would be larger than this disk allows."),
    errno.ENAMETOOLONG: ("invalid", "The name {} is too long."),
    errno.EINVAL: ("invalid", "This cannot be done with {}."),
    errno.EBUSY: ("denied", "{} is in use by the system."),
}


def refusal(error: OSError, path: str) -> Refused:
    """What an operating system error on `path` means for the person who asked."""
    code, text = _CODES.get(error.errno or 0, ("internal", f"{{}}: {error.strerror}."))
    return Refused(code, text.format(path or "The workspace's folder"))
