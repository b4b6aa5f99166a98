"""Secrets at rest: AES-256-GCM (NIST SP 800-38D) under keys that lie beside the database.

A sealed value is `version (1 byte) ‖ key id (4) ‖ nonce (12) ‖ ciphertext and tag`. It names its
key, so that a new one can be added while values under the former are still there, and it is bound
to what it is about: moved to another row, person or column, it does not open.

The key file has one key a line, `<id in hexadecimal> <key in base64>`; the last one seals, all of
them open. Random nonces are safe for 2³² values under one key, which no server here comes near.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cloudide.errors import CloudIDEError

KEY_FILE = "secrets.key"  # beside the database
KEY_BYTES = 32
ID_BYTES = 4
NONCE_BYTES = 12  # SP 800-38D, section 8.2: what GCM is made for
TAG_BYTES = 16
VERSION = b"\x01"
_HEAD = len(VERSION) + ID_BYTES
_SHORTEST = _HEAD + NONCE_BYTES + TAG_BYTES


class Unsealable(CloudIDEError):
    """A value that is not one, is about something else, or whose key is not here."""

    title = "A secret cannot be read"


class Sealing:
    """Seals and opens values.

    Args:
        keys: 32 bytes each, by their id of four bytes, in the order in which they came.
    """

    def __init__(self, keys: Mapping[bytes, bytes], path: Path | None = None) -> None:
        self._path = path  # where they are from, and others may be added beside us
        self._seen: tuple[int, int] | None = None
        self._take(keys)

    def _take(self, keys: Mapping[bytes, bytes]) -> None:
        if not keys or any(len(id) != ID_BYTES for id in keys):
            raise ValueError("a sealing has at least one key, whose id has four bytes")
        self._keys = {id: AESGCM(key) for id, key in keys.items()}
        self._newest = [*keys][-1]

    @classmethod
    def start(cls, folder: Path, *, file: str = "", given: str = "") -> Sealing:
        """The sealing of the server that keeps its data in a folder; its first key is made.

        `file`: where the keys are, if not there. `given`: the keys themselves, in base64 between
        commas, of which the last one seals; no file is looked at then.

        Raises:
            Unsealable: these are no keys, which is not mended: what they opened would be lost.
        """
        if given:
            return cls(_given(given))
        path = Path(file) if file else folder / KEY_FILE
        if not path.exists():
            _add_key(path, "")
        return cls(_read(path), path)

    @property
    def newest(self) -> bytes:
        """The id of the key that seals now; `key_of` tells what has to be sealed anew."""
        self._follow()
        return self._newest

    def _follow(self) -> None:
        """Read the file again if it is another one: a rotation adds its key while we run."""
        if self._path is None:
            return
        try:
            found = self._path.stat()
        except OSError:
            return  # what is known goes on to be used
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._seen:
            self._take(_read(self._path))
            self._seen = stamp

    def seal(self, plain: bytes, about: str) -> bytes:
        """`about`: what only this value is, such as `git-credential <id>`; the same opens it."""
        self._follow()
        head = VERSION + self._newest
        nonce = os.urandom(NONCE_BYTES)
        return head + nonce + self._keys[self._newest].encrypt(nonce, plain, _bound(head, about))

    def open(self, sealed: bytes, about: str) -> bytes:
        """Raises: Unsealable."""
        head, nonce, rest = sealed[:_HEAD], sealed[_HEAD:][:NONCE_BYTES], sealed[_HEAD:]
        if len(sealed) < _SHORTEST or head[:1] != VERSION:
            raise Unsealable("A stored secret is damaged. Delete it and add it again.")
        self._follow()
        key = self._keys.get(head[1:])
        if key is None:
            raise Unsealable(
                f"The key {head[1:].hex()} of a stored secret is not in {KEY_FILE}. Put the key "
                "file back that belongs to this database, or add the secret again."
            )
        try:
            return key.decrypt(nonce, rest[NONCE_BYTES:], _bound(head, about))
        except InvalidTag as error:
            message = "A stored secret was changed or moved. Delete it and add it again."
            raise Unsealable(message) from error


def key_of(sealed: bytes) -> bytes:
    """The id of the key that a value was sealed with."""
    return sealed[1:_HEAD]


def add_key(folder: Path, *, file: str = "") -> None:
    """Add a key that seals from now on, in servers that run too; former values still open."""
    path = Path(file) if file else folder / KEY_FILE
    _read(path)  # nothing is added to a file that is none
    _add_key(path, path.read_text())


def _bound(head: bytes, about: str) -> bytes:
    return head + about.encode()


def _add_key(path: Path, former: str) -> None:
    line = f"{secrets.token_hex(ID_BYTES)} {base64.b64encode(os.urandom(KEY_BYTES)).decode()}\n"
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(former + line)
        file.flush()
        os.fsync(file.fileno())
    part.rename(path)


def _given(text: str) -> dict[bytes, bytes]:
    """Keys as a setting has them; the id of each is made from itself."""
    keys: dict[bytes, bytes] = {}
    try:
        for each in filter(None, (part.strip() for part in text.split(","))):
            key = base64.b64decode(each, validate=True)
            if len(key) != KEY_BYTES:
                raise ValueError
            keys[hashlib.sha256(b"cloudide key " + key).digest()[:ID_BYTES]] = key
        if not keys:
            raise ValueError
    except ValueError:
        message = f"secrets_key is {KEY_BYTES} random bytes in base64; or several, with commas."
        raise Unsealable(message) from None
    return keys


def _read(path: Path) -> dict[bytes, bytes]:
    keys: dict[bytes, bytes] = {}
    try:
        for line in path.read_text().splitlines():
            id, encoded = line.split()
            key = base64.b64decode(encoded, validate=True)
            if len(key) != KEY_BYTES or len(bytes.fromhex(id)) != ID_BYTES:
                raise ValueError(line)
            keys[bytes.fromhex(id)] = key
        if not keys:
            raise ValueError("empty")
    except ValueError:
        # Not the line itself: it holds a key.
        message = f"{path} is not a file of keys; put the one back that belongs to this database."
        raise Unsealable(message) from None
    return keys
