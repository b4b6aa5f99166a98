"""Git's pkt-lines (gitprotocol-common(5)), and what a push asks for (gitprotocol-pack(5)).

A pkt-line is four hexadecimal digits, its length with them, and content; `0000` is a flush. The
body of a push is `shallow` lines, one command for each reference, a flush, perhaps options and a
flush, and then the pack:

    <old id> <new id> <reference>\\0<capabilities>     the first command
    <old id> <new id> <reference>                     the others

An id of zeros as the old one makes a reference, as the new one deletes it.
"""

from __future__ import annotations

import re

import msgspec

COMMANDS_LIMIT = 1024 * 1024  # bytes before the flush
_COMMAND = re.compile(
    rb"([0-9a-f]{40}|[0-9a-f]{64}) ([0-9a-f]{40}|[0-9a-f]{64}) (refs/[^\0\n ]+)\n?"
)
_SHALLOW = re.compile(rb"shallow ([0-9a-f]{40}|[0-9a-f]{64})\n?")


class Malformed(ValueError):
    """Not what a push begins with."""


class Update(msgspec.Struct, frozen=True):
    """A reference that is to be `new` in place of `old`; ids in hexadecimal, zeros: none."""

    ref: str
    old: str
    new: str

    @property
    def deletes(self) -> bool:
        return not self.new.strip("0")

    @property
    def creates(self) -> bool:
        return not self.old.strip("0")


class Commands:
    """Reads the commands at the beginning of a push, however its bytes arrive."""

    def __init__(self) -> None:
        self.updates: list[Update] = []
        self.done = False  # the flush has come: all commands are known
        self._rest = b""
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes; nothing is read after the flush.

        Raises:
            Malformed: this is no push, or one of a kind that is not understood (signed).
        """
        if self.done:
            return
        self._rest += data
        while not self.done and len(self._rest) >= 4:
            try:
                length = int(self._rest[:4], 16) if self._rest[:4].isalnum() else -1
            except ValueError:
                length = -1
            if length == 0:
                self.done = True
                self._rest = b""
                return
            if length < 4:
                raise Malformed("no pkt-line")
            self._size += length
            if self._size > COMMANDS_LIMIT:
                raise Malformed("too many commands")
            if len(self._rest) < length:
                self._size -= length
                return
            self._read(self._rest[4:length])
            self._rest = self._rest[length:]

    def _read(self, line: bytes) -> None:
        command, separator, _capabilities = line.partition(b"\0")
        if separator and self.updates:
            raise Malformed("capabilities after the first command")
        if not separator and _SHALLOW.fullmatch(command):
            return
        found = _COMMAND.fullmatch(command)
        if found is None:
            raise Malformed("a command that is not understood")
        old, new, ref = (part.decode("utf-8", "surrogateescape") for part in found.groups())
        if any(each.ref == ref for each in self.updates):
            raise Malformed("a reference twice")
        self.updates.append(Update(ref, old, new))
