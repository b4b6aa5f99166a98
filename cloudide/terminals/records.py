"""What is kept with a terminal and outlives the server: whose it is, who may type, who typed.

The record lies with the terminal's process, in its agent, so that it ends with it. Agents are
hostile: a record carries a seal (HMAC-SHA-256 over workspace, terminal and content), and one whose
seal is wrong is none. An agent can give back an older record of the same terminal, and no other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from cloudide.identity.permissions import Person
from cloudide.protocol.terminal import TypingMode

RECORD_LIMIT = 16 * 1024  # bytes
TYPISTS = 20  # people remembered


class Typist(msgspec.Struct):
    """`at`: when this person last typed, in seconds since the epoch."""

    person: Person
    at: float


class Record(msgspec.Struct):
    owner: Person | None = None
    mode: TypingMode = "everyone"
    typed: list[Typist] = []

    def note(self, person: Person, at: float) -> bool:
        """Remember who typed, the last one first; returns whether that is somebody else."""
        if self.typed and self.typed[0].person == person:
            self.typed[0].at = at
            return False
        others = [typist for typist in self.typed if typist.person.id != person.id]
        self.typed = [Typist(person, at), *others][:TYPISTS]
        return True


class Seal:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def close(self, workspace: str, terminal: str, record: Record) -> str:
        content = msgspec.json.encode(record)
        return base64.b64encode(self._mac(workspace, terminal, content) + content).decode()

    def open(self, workspace: str, terminal: str, sealed: str) -> Record:
        """The record, or an empty one when it is none of ours."""
        if not sealed or len(sealed) > RECORD_LIMIT:
            return Record()
        try:
            raw = base64.b64decode(sealed, validate=True)
            mac, content = raw[:32], raw[32:]
            if hmac.compare_digest(mac, self._mac(workspace, terminal, content)):
                return msgspec.json.decode(content, type=Record)
        except (ValueError, msgspec.DecodeError):
            return Record()
        return Record()

    def _mac(self, workspace: str, terminal: str, content: bytes) -> bytes:
        about = b"\0".join((workspace.encode(), terminal.encode(), content))
        return hmac.digest(self._key, about, hashlib.sha256)
