"""Passwords: what one has to be, and how it is kept and compared.

The rules are those of NIST SP 800-63B-4, section 3.1.1: length alone counts, no kinds of characters
are asked for, Unicode is taken as it comes, and what is easily guessed is refused. Kept is what
argon2id (RFC 9106) makes of it, with the parameters of its second recommended option.
"""

from __future__ import annotations

import asyncio
import itertools
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from cloudide.errors import InvalidInput

MINIMUM, MAXIMUM = 15, 256  # characters; 15 where nothing but the password is asked for
AT_ONCE = 2  # comparisons: each takes 64 MiB and a tenth of a second of four threads
DIFFERENT = 5  # characters, at least
REPEATED = 10  # characters that, repeated, are no password

_hasher = PasswordHasher()


def checked(password: str, *context: str) -> str:
    """A password as it is kept and compared, in Unicode's composed form.

    `context`: words that it may not consist of, such as the owner's name.

    Raises:
        InvalidInput: it is too short or long, or easily guessed.
    """
    password = unicodedata.normalize("NFKC", password)
    if not MINIMUM <= len(password) <= MAXIMUM:
        raise InvalidInput(
            f"A password has {MINIMUM} to {MAXIMUM} characters; a few words make a good one."
        )
    if len(set(password)) < DIFFERENT or _is_sequence(password):
        raise InvalidInput("This password repeats itself; choose one that is harder to guess.")
    rest = password.casefold()
    for word in sorted({"cloudide", "password", *_words(context)}, key=len, reverse=True):
        rest = rest.replace(word, "")
    if len(rest) < MINIMUM // 2:
        raise InvalidInput(
            "This password is made of your name or address; choose one that is harder to guess."
        )
    return password


def _words(context: tuple[str, ...]) -> set[str]:
    """The words of three letters and more in some texts."""
    letters = "".join(each if each.isalnum() else " " for each in " ".join(context).casefold())
    return {word for word in letters.split() if len(word) > 2}


def _is_sequence(password: str) -> bool:
    """Whether it goes on as it began: 0123456789…, or a few characters over and over."""
    steps = {ord(second) - ord(first) for first, second in itertools.pairwise(password)}
    return len(steps) == 1 or any(
        all(password[at] == password[at % size] for at in range(len(password)))
        for size in range(1, REPEATED + 1)
    )


class Passwords:
    """Hashes and compares beside the event loop, a few at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def hash(self, password: str) -> str:
        async with self._turns:
            return await asyncio.to_thread(_hasher.hash, password)

    async def matches(self, kept: str | None, password: str) -> bool:
        """Whether `kept` was made from this password; for None it takes as long, and is not."""
        normal = unicodedata.normalize("NFKC", password[:MAXIMUM])
        async with self._turns:
            return await asyncio.to_thread(_verify, kept, normal)


def is_outdated(kept: str) -> bool:
    """Whether it was made with weaker parameters than those of today."""
    return _hasher.check_needs_rehash(kept)


def _verify(kept: str | None, password: str) -> bool:
    if kept is None:
        _hasher.hash(password)  # so that nobody learns from the time whether there is an account
        return False
    try:
        return _hasher.verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False
