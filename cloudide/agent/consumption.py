"""What runs in the workspace and what it uses, as proc(5) shows it."""

from __future__ import annotations

import os
from contextlib import suppress

from cloudide.agent.beneath import Root
from cloudide.protocol.agent import Process, Processes

COMMAND_LIMIT = 300  # characters
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def processes(root: Root, limit: int) -> Processes:
    """The processes with the most memory, this agent left out, and those that have ended."""
    with open("/proc/uptime") as file:
        uptime = float(file.read().split()[0])
    found: list[Process] = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with suppress(OSError, ValueError, IndexError):
                process = _process(name, uptime)
                if process is not None:
                    found.append(process)
    found.sort(key=lambda process: -process.memory)
    space = os.statvfs(root.path)
    return Processes(
        found[: max(0, limit)],
        len(found),
        space.f_bavail * space.f_frsize,
        space.f_blocks * space.f_frsize,
    )


def _process(pid: str, uptime: float) -> Process | None:
    with open(f"/proc/{pid}/stat", "rb") as file:
        head, _, rest = file.read().rpartition(b")")
    fields = rest.split()
    if fields[0] in (b"Z", b"X"):
        return None
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        line = file.read(4 * COMMAND_LIMIT)
    # A kernel's helper, or one that changed its arguments away, has its name alone.
    words = line.rstrip(b"\0").replace(b"\0", b" ") or head.partition(b"(")[2]
    return Process(
        pid=int(pid),
        parent=int(fields[1]),
        cpu=(int(fields[11]) + int(fields[12])) / TICKS,
        memory=int(fields[21]) * PAGE,
        age=max(0.0, uptime - int(fields[19]) / TICKS),
        threads=int(fields[17]),
        command=words.decode(errors="replace")[:COMMAND_LIMIT],
    )
