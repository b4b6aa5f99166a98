"""Who belongs to a session: its processes, and what those started in sessions of their own."""

from __future__ import annotations

import os
from typing import NamedTuple


class _Process(NamedTuple):
    parent: int
    session: int
    started: int  # clock ticks since the machine did: with the id it names one process for ever
    alive: bool


class Session:
    """The session that a program leads, as proc(5) shows it.

    A child that left the session (setsid(1)) is found by its parent, and known from then on. One
    that cut both ties before anybody looked, as daemons do on purpose, is not.
    """

    def __init__(self, leader: int) -> None:
        self.leader = leader
        self._known: dict[int, int] = {}

    def members(self, ended: bool) -> list[int]:
        """The living; `ended`: the leader is gone, and its number may be another program's."""
        table = _processes()
        reused = ended and self.leader in table
        found = {
            pid
            for pid, process in table.items()
            if (process.session == self.leader and not reused)
            or (pid == self.leader and not ended)
            or self._known.get(pid) == process.started
        }
        children: dict[int, list[int]] = {}
        for pid, process in table.items():
            children.setdefault(process.parent, []).append(pid)
        new = [*found]
        while new:
            new = [c for pid in new for c in children.get(pid, ()) if c not in found]
            found.update(new)
        self._known = {pid: table[pid].started for pid in found}
        return [pid for pid in found if table[pid].alive]


def _processes() -> dict[int, _Process]:
    table: dict[int, _Process] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        alive = fields[0] not in (b"Z", b"X")
        table[int(name)] = _Process(int(fields[1]), int(fields[3]), int(fields[19]), alive)
    return table
