"""Secrets as files: on a tmpfs, for as long as the program runs that they were given to.

Every container of the engine has a tmpfs at /dev/shm; nothing of it reaches a disk, and it ends
with the container, whatever becomes of the agent.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping

from cloudide.agent.failures import Refused

FOLDER = "/dev/shm"  # noqa: S108 - see above
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")


def write(files: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Write them into a folder of their own; returns it, and the variables that lead to them.

    Raises:
        Refused: there is no tmpfs here, no room on it, or a name is none.
    """
    if any(not _NAME.fullmatch(name) for name in files):
        raise Refused("invalid", "This is not the name of a secret.")
    if not _is_tmpfs(FOLDER):
        raise Refused("invalid", f"This workspace has no tmpfs at {FOLDER} for secret files.")
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix="cloudide-", dir=FOLDER)  # mode 0700
        for name, value in files.items():
            path = os.path.join(folder, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(value.encode())
    except OSError as error:
        remove(folder)
        raise Refused(
            "no_space", f"The secret files cannot be written: {error.strerror}."
        ) from error
    return folder, {f"{name}_FILE": os.path.join(folder, name) for name in files}


def remove(folder: str) -> None:
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _is_tmpfs(folder: str) -> bool:
    with open("/proc/self/mounts") as file:
        found = [line.split() for line in file]
    return any(fields[1] == folder and fields[2] == "tmpfs" for fields in found if len(fields) > 2)
