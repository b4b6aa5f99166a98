"""Which TCP ports programs of this container listen on (proc(5), /proc/net/tcp).

The kernel tells nobody when a socket begins to listen, so the table is read twice a second, and
only while a server is there to be told. Programs are looked up only for sockets not seen before.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from ipaddress import ip_address

from cloudide.protocol.agent import PORTS_LIMIT, Port

INTERVAL = 0.5  # seconds between looks
TABLE_LIMIT = 4 * 1024 * 1024  # bytes of a table that are read; listening sockets come first
COMMAND_LIMIT = 200  # characters
SOCKETS_LIMIT = 4 * PORTS_LIMIT  # listening sockets that are looked at
_LISTEN = b"0A"  # TCP_LISTEN of the kernel's tcp_states.h, in hexadecimal
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")

Listening = dict[int, tuple[int, bool]]  # inode → port, whether it takes all addresses


class Ports:
    """What listens; `current` is as new as the last look."""

    def __init__(self, on_change: Callable[[list[Port]], None]) -> None:
        self.current: list[Port] = []
        self._on_change = on_change
        self._seen: Listening = {}
        self._programs: dict[int, tuple[int, str]] = {}  # inode → pid, command

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(INTERVAL)

    def look(self) -> None:
        """Read the tables, and tell of what has changed since the last look."""
        listening = _listening()
        if listening == self._seen:
            return
        unknown = listening.keys() - self._programs.keys()
        self._programs = {
            inode: program for inode, program in self._programs.items() if inode in listening
        }
        if unknown:
            self._programs.update(_programs(unknown))
        self._seen = listening
        ports: dict[int, Port] = {}
        for inode, (number, everywhere) in sorted(listening.items(), key=lambda item: item[1]):
            pid, command = self._programs.get(inode, (0, ""))
            if pid == os.getpid():
                continue  # an outlet: it leads to the server
            ports[number] = Port(number, everywhere, pid, command)
        current = [*ports.values()][:PORTS_LIMIT]
        if current != self.current:
            self.current = current
            self._on_change(current)


def _listening() -> Listening:
    """The sockets that a connection to 127.0.0.1 or ::1 reaches."""
    found: Listening = {}
    for name in _TABLES:
        try:
            with open(name, "rb") as file:
                table = file.read(TABLE_LIMIT)
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for line in table.splitlines()[1:]:
            fields = line.split()
            if len(fields) < 10 or fields[3] != _LISTEN or len(found) >= SOCKETS_LIMIT:
                continue
            address, _, port = fields[1].partition(b":")
            host = _address(address.decode())
            if host in (_ANY | _LOOPBACK):
                found[int(fields[9])] = (int(port, 16), host in _ANY)
    return found


# A packed address; that of IPv4 inside IPv6 as IPv4.
_ANY = {ip_address(each).packed for each in ("0.0.0.0", "::")}  # noqa: S104 - compared with
_LOOPBACK = {ip_address(each).packed for each in ("127.0.0.1", "::1")}


def _address(text: str) -> bytes:
    """A packed address, of what the kernel prints: 32-bit words in the machine's byte order."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    packed = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    mapped = b"\0" * 10 + b"\xff\xff"
    return packed[12:] if len(packed) == 16 and packed.startswith(mapped) else packed


def _programs(wanted: set[int]) -> dict[int, tuple[int, str]]:
    """Whose sockets these are, as far as this user may see."""
    targets = {f"socket:[{inode}]": inode for inode in wanted}
    found: dict[int, tuple[int, str]] = {}
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        try:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                inode = targets.get(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
                if inode is not None and inode not in found:
                    found[inode] = (int(pid), _command(pid))
        except OSError:  # another user's, or it has ended
            continue
        if len(found) == len(targets):
            break
    return found


def _command(pid: str) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        arguments = file.read(4 * COMMAND_LIMIT).rstrip(b"\0").split(b"\0")
    return b" ".join(arguments).decode(errors="replace")[:COMMAND_LIMIT]
