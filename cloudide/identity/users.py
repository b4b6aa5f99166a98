"""What is known of people, and what they may be called."""

from __future__ import annotations

import colorsys
import re
import time
import unicodedata
from collections.abc import Mapping
from typing import Any

import msgspec

from cloudide.errors import InvalidInput
from cloudide.identity.permissions import Limit, Person

MAX_NAME = 64
MAX_EMAIL = 254  # RFC 3696, erratum 1690
# Local part, host with a dot; everything stricter refuses addresses that are in use.
_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(?:\.[^\s@.]+)+")


class User(msgspec.Struct, frozen=True):
    """Somebody with an account. `limit` is there when they are known by an API token."""

    id: str
    name: str
    color: str
    admin: bool
    guest: bool = False  # came by a link to a workspace, and has nothing else here
    limit: Limit | None = None

    @property
    def known_as(self) -> str:
        """What may be remembered of their rights is remembered by this."""
        return self.id if self.limit is None else f"{self.id} {self.limit.token}"

    @property
    def person(self) -> Person:
        return Person(self.id, self.name, self.color)


class Profile(msgspec.Struct, frozen=True):
    """What somebody may set of their account."""

    name: str
    email: str
    has_password: bool


class Account(msgspec.Struct, frozen=True):
    """An account as administrators see it."""

    id: str
    name: str
    color: str
    admin: bool
    email: str
    active: bool
    guest: bool


def clean_name(name: str, what: str = "A name") -> str:
    """A name as people may give it: 1 to 64 visible characters, in Unicode's composed form.

    Raises:
        InvalidInput: empty, too long, or with control or invisible formatting characters.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not cleaned or len(cleaned) > MAX_NAME:
        raise InvalidInput(f"{what} has 1 to {MAX_NAME} characters.")
    # Cc control, Cf formatting (direction overrides forge names), Cs surrogates, Zl/Zp separators.
    if any(unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in cleaned):
        raise InvalidInput(f"{what} cannot hold control or invisible characters.")
    return cleaned


def clean_email(email: str) -> str:
    """An email address as it is kept and compared.

    Raises:
        InvalidInput: it is none. Whether it exists is not looked at.
    """
    cleaned = unicodedata.normalize("NFC", email).strip().casefold()
    if len(cleaned) > MAX_EMAIL or not _EMAIL.fullmatch(cleaned):
        raise InvalidInput("This is not an email address.")
    return cleaned


def user_of(row: Mapping[Any, Any]) -> User:
    return User(row["id"], row["name"], row["color"], row["admin"], row["guest"])


def new_row(
    id: str, name: str, number: int, *, admin: bool = False, guest: bool = False
) -> dict[str, object]:
    """A new account, the `number`-th of this server."""
    return {
        "id": id,
        "name": name,
        "color": _color(number),
        "admin": admin,
        "guest": guest,
        "created_at": time.time(),
    }


def _color(number: int) -> str:
    """A colour of one's own: each hue is the golden angle away from the last, so that any few
    accounts differ clearly; dark enough for white text, light enough to see on a dark page."""
    hue = (0.62 + number * 0.381966) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, 0.4, 0.6)
    return f"#{int(red * 255):02x}{int(green * 255):02x}{int(blue * 255):02x}"
