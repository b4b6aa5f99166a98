"""Signing in from where there is no browser: the device authorization grant (RFC 8628).

    program → asks for codes, and shows the short one to its person
    person  → types it in the IDE, sees what asks, and allows it, or not
    program → asks every few seconds with the long code, until it gets an API token

Requests are kept in memory for ten minutes; what ends with the server is asked for again.
"""

from __future__ import annotations

import secrets
import time
import unicodedata
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from cloudide.errors import Conflict, NotFound, TooMany
from cloudide.identity.credentials import digest, new_secret
from cloudide.identity.permissions import Scope

SECONDS = 600.0  # from the first request until the token is there
INTERVAL = 5.0  # seconds between two questions of a program; five more each time it is too fast
LIMIT, OF_ADDRESS = 1000, 20  # requests that wait; from one address
# RFC 8628 section 6.1: no vowels, so that no words come about, and nothing that looks like another.
ALPHABET, LENGTH = "BCDFGHJKLMNPQRSTVWXZ", 8
MAX_CLIENT = 64  # characters of a program's name for itself


class DeviceError(StrEnum):
    """Answers to a program, RFC 8628 section 3.5."""

    PENDING = "authorization_pending"
    SLOW_DOWN = "slow_down"
    DENIED = "access_denied"
    EXPIRED = "expired_token"


class Choice(msgspec.Struct, frozen=True):
    """What somebody allows a program: a token of theirs with these scopes, for so many days."""

    user: str
    name: str
    scopes: Sequence[Scope]
    workspace: str
    days: int | None


class Asked(msgspec.Struct, frozen=True):
    """A request as its person sees it. `age` is in seconds."""

    code: str
    client: str
    address: str
    scopes: Sequence[Scope]
    age: float


class _Request(msgspec.Struct):
    code: str
    client: str
    address: str
    scopes: Sequence[Scope]
    began: float
    interval: float = INTERVAL
    asked: float | None = None
    choice: Choice | None = None
    denied: bool = False


class Devices:
    """`clock` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: OrderedDict[str, _Request] = OrderedDict()  # by the long code's digest
        self._codes: dict[str, str] = {}  # from the short code
        self._addresses: Counter[str] = Counter()

    def begin(self, client: str, address: str, scopes: Sequence[Scope]) -> tuple[str, str]:
        """A new request of a program: its long code, and the short one for its person.

        Raises:
            TooMany: there are as many as there may be.
        """
        self._expire()
        if len(self._requests) >= LIMIT or self._addresses[address] >= OF_ADDRESS:
            raise TooMany("Too many programs wait to be signed in. Try again in a few minutes.")
        secret = new_secret()
        code = _user_code()
        while code in self._codes:
            code = _user_code()
        self._requests[digest(secret)] = _Request(
            code, _visible(client), address, scopes, self._clock()
        )
        self._codes[code] = digest(secret)
        self._addresses[address] += 1
        return secret, code

    def find(self, typed: str) -> Asked:
        """The request with a short code, as somebody typed it.

        Raises:
            NotFound: there is none, or it was decided already.
        """
        request = self._find(typed)
        age = self._clock() - request.began
        return Asked(request.code, request.client, request.address, request.scopes, age)

    def allow(self, typed: str, choice: Choice) -> Asked:
        """As `find`: the program gets its token when it asks next."""
        asked = self.find(typed)
        self._find(typed).choice = choice
        return asked

    def deny(self, typed: str) -> Asked:
        """As `find`: the program is told so."""
        asked = self.find(typed)
        self._find(typed).denied = True
        return asked

    def ask(self, secret: str) -> Choice | DeviceError:
        """What has become of the request with this long code; a choice is told once."""
        self._expire()
        key = digest(secret)
        request = self._requests.get(key)
        if request is None:
            return DeviceError.EXPIRED
        now, before = self._clock(), request.asked
        request.asked = now
        if before is not None and now - before < request.interval:
            request.interval += INTERVAL
            return DeviceError.SLOW_DOWN
        if request.denied:
            self._drop(key)
            return DeviceError.DENIED
        if request.choice is None:
            return DeviceError.PENDING
        self._drop(key)
        return request.choice

    def _find(self, typed: str) -> _Request:
        self._expire()
        letters = "".join(each for each in typed.upper() if each.isalnum())
        key = self._codes.get(f"{letters[:4]}-{letters[4:]}")
        if key is None:
            raise NotFound(
                "No program waits with this code. Codes are good for ten minutes; look at the "
                "program again, or let it ask for a new one."
            )
        request = self._requests[key]
        if request.choice is not None or request.denied:
            raise Conflict("This was answered already. Look at the program that asked.")
        return request

    def _expire(self) -> None:
        now = self._clock()
        while self._requests:
            key, request = next(iter(self._requests.items()))
            if now < request.began + SECONDS:
                return
            self._drop(key)

    def _drop(self, key: str) -> None:
        request = self._requests.pop(key)
        del self._codes[request.code]
        self._addresses[request.address] -= 1
        if not self._addresses[request.address]:
            del self._addresses[request.address]


def _user_code() -> str:
    letters = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    return f"{letters[:4]}-{letters[4:]}"


def _visible(client: str) -> str:
    """A program's name for itself, without what could deceive whoever reads it."""
    shown = "".join(
        each
        for each in unicodedata.normalize("NFC", client)
        if unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
    )
    return shown.strip()[:MAX_CLIENT] or "A program"
