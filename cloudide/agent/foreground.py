"""What runs in the foreground of a terminal (tcgetpgrp(3), proc(5))."""

from __future__ import annotations

import os

COMMAND_LIMIT = 200  # characters


def command(process: int) -> str:
    """The command line of a process, for people; "" when it is gone."""
    try:
        with open(f"/proc/{process}/cmdline", "rb") as file:
            words = file.read(4 * COMMAND_LIMIT).split(b"\0")
    except OSError:
        return ""
    words[0] = os.path.basename(words[0])
    text = b" ".join(words).decode(errors="replace").strip()
    return "".join(c if c.isprintable() else " " for c in text)[:COMMAND_LIMIT]


def directory(process: int) -> str:
    """The working directory of a process; "" when it is gone or not ours to see."""
    try:
        path = os.readlink(f"/proc/{process}/cwd")
    except OSError:
        return ""
    return path.encode(errors="surrogateescape").decode(errors="replace")
