"""What a hostile client sends: frames made by the protocol's grammar, and real ones, spoilt."""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path

from cloudide.protocol import sync
from cloudide.protocol.varint import write_bytes, write_uint

YJS = Path(__file__).parent.parent / "yjs"
PANIC = bytes.fromhex("01010328b1f7060300016100")  # has panicked a CRDT library
CLAIMS = b"\x00\x00" + write_bytes(b"\x80\x80\x80\x80\x01\x01\x01\x01\x01\x01")  # 2^28 entries
NUMBERS = (
    0,
    1,
    2,
    127,
    128,
    2**14,
    2**28,
    2**31,
    2**32 - 1,
    2**32,
    2**53 - 2,
    2**53 - 1,
    2**53,
    2**63,
)
STATES = (b"null", b"{}", b'{"user":{"name":"root"}}', b"[1]", b'"x"', b"{", b"[" * 3000, b"1e999")


def real_updates(count: int) -> list[bytes]:
    """Updates that Yjs made."""
    assert (YJS / "node_modules").is_dir(), "Run `make test`: it installs the npm packages."
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed; `make test` sees to that."
    command = [node, str(YJS / "updates.mjs"), str(count)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [PANIC, *(bytes.fromhex(line) for line in lines.split())]


class Hostile:
    """An endless supply; the same for the same seed."""

    def __init__(self, seed: int, updates: list[bytes]) -> None:
        self.choose = random.Random(seed)  # noqa: S311 - a replayable order, not a secret
        self.updates = updates

    def number(self) -> bytes:
        choose = self.choose
        return write_uint(choose.choice(NUMBERS) if choose.random() < 0.3 else choose.randrange(99))

    def noise(self, most: int = 40) -> bytes:
        return self.choose.randbytes(self.choose.randrange(most))

    def spoilt(self, data: bytes) -> bytes:
        """One to four changes of bytes, lengths or structure."""
        choose = self.choose
        spoilt = bytearray(data)
        for _ in range(choose.choice((1, 1, 1, 2, 4))):
            at = choose.randrange(len(spoilt) + 1)
            match choose.randrange(9):
                case 0 | 1 | 2 if at < len(spoilt):
                    spoilt[at] = choose.randrange(256)
                case 3 if at < len(spoilt):
                    spoilt[at] ^= 1 << choose.randrange(8)
                case 4 if at < len(spoilt):
                    spoilt[at] = (spoilt[at] + choose.choice((-1, 1))) % 256
                case 5:
                    spoilt[at : at + choose.randrange(4)] = self.number()
                case 6:
                    del spoilt[at : at + choose.randrange(1, 9)]
                case 7:
                    spoilt[at:at] = self.noise(9)
                case 8:
                    other = choose.choice(self.updates)
                    spoilt[at:] = other[choose.randrange(len(other)) :]
        return bytes(spoilt)

    def update(self) -> bytes:
        """By the grammar, with numbers that need not fit."""
        choose = self.choose
        blocks = choose.choice((0, 1, 1, 1, 2))
        parts = [write_uint(blocks)]
        for _ in range(blocks):
            structs = choose.choice((1, 1, 2, 3))
            parts += [write_uint(structs), self.number(), self.number()]
            parts += [self.struct() for _ in range(structs)]
        deletions = choose.choice((0, 0, 1, 2))
        parts.append(write_uint(deletions))
        for _ in range(deletions):
            ranges = choose.randrange(3)
            parts += [self.number(), write_uint(ranges)]
            parts += [self.number() + self.number() for _ in range(ranges)]
        return b"".join(parts)

    def struct(self) -> bytes:
        choose = self.choose
        kind = choose.choice((0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8, 9, 10, 11, 31))
        flags = choose.choice((0, 0x80, 0x40, 0xC0, 0x20))
        parts = [bytes((kind | flags,))]
        if kind in (0, 10):
            return parts[0] + self.number()
        for flag in (0x80, 0x40):
            if flags & flag:
                parts.append(self.number() + self.number())
        if not flags & 0xC0:
            parts.append(b"\x01" + write_bytes(b"content"))
            if flags & 0x20:
                parts.append(write_bytes(b"key"))
        match kind:
            case 1:
                parts.append(self.number())
            case 4 | 5:
                parts.append(write_bytes(choose.choice((b"text", "é汉".encode(), self.noise()))))
            case 3 | 9:
                parts.append(write_bytes(self.noise()))
            case 7:
                parts.append(self.number())
            case _:
                parts.append(self.noise())
        return b"".join(parts)

    def awareness(self) -> bytes:
        choose = self.choose
        count = choose.choice((0, 1, 1, 2, 70))
        parts = [write_uint(count)]
        for _ in range(count):
            state = choose.choice((*STATES, self.noise(), b'{"x":"' + b"y" * 5000 + b'"}'))
            parts.append(self.number() + self.number() + write_bytes(state))
        return b"\x01" + write_bytes(b"".join(parts))

    def sync_body(self) -> bytes:
        choose = self.choose
        match choose.randrange(4):
            case 0:
                return choose.choice(self.updates)
            case 1:
                return self.spoilt(choose.choice(self.updates))
            case 2:
                return self.update()
            case _:
                return self.noise()

    def spoilt_update(self) -> bytes:
        """A frame with an update that is nearly right."""
        choose = self.choose
        body = self.update() if choose.random() < 0.2 else self.spoilt(choose.choice(self.updates))
        return choose.choice((sync.update, sync.update, sync.step_2))(body)

    def frame(self) -> bytes:
        """Any message of the protocol, or none."""
        choose = self.choose
        match choose.randrange(12):
            case 0 | 1 | 2 | 3:
                return sync.update(self.sync_body())
            case 4 | 5:
                return sync.step_2(self.sync_body())
            case 6:
                vector = b"".join(self.number() + self.number() for _ in range(choose.randrange(4)))
                return choose.choice((sync.step_1(self.number() + vector), CLAIMS))
            case 7:
                return self.awareness()
            case 8:
                return b"\x03" + choose.choice((b"", self.noise()))
            case 9:
                return self.number() + self.noise()
            case 10:
                return self.spoilt(sync.update(choose.choice(self.updates)))
            case _:
                return self.noise()
