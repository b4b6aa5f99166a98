"""What secrets are called, and how a process asks for them.

NAME            its newest version, as an environment variable of that name
NAME@3          its version 3, whatever comes later
file:NAME       as a file on a tmpfs of the container; NAME_FILE says where it is
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from cloudide.errors import InvalidInput

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
WISHES_LIMIT = 32
_WISH = re.compile(r"(file:)?([A-Za-z_][A-Za-z0-9_]{0,99})(?:@([1-9][0-9]{0,8}))?")
# Variables that decide which programs run, or what is run beside them.
_RESERVED = re.compile(
    r"(?i)PATH|HOME|SHELL|USER|IFS|ENV|BASH_ENV|PS4|LD_.*|PYTHON.*|NODE_.*|GIT_.*"
)


class Wish(msgspec.Struct, frozen=True):
    """`version` 0: the newest."""

    name: str
    version: int = 0
    as_file: bool = False


def parse_wishes(texts: Sequence[str]) -> list[Wish]:
    """Raises: InvalidInput: one of them is none, or there are too many."""
    if len(texts) > WISHES_LIMIT:
        raise InvalidInput(f"At most {WISHES_LIMIT} secrets can be asked for.", pointer="/secrets")
    wishes: list[Wish] = []
    for index, text in enumerate(texts):
        found = _WISH.fullmatch(text)
        if found is None:
            raise InvalidInput(
                f"{text[:100]!r} is not how a secret is asked for: NAME, NAME@3 or file:NAME.",
                pointer=f"/secrets/{index}",
            )
        wishes.append(Wish(found[2], int(found[3] or 0), found[1] is not None))
    if len({wish.name for wish in wishes}) < len(wishes):
        raise InvalidInput("A secret is asked for once.", pointer="/secrets")
    return wishes


def check_name(name: str) -> str:
    """Raises: InvalidInput: no secret may be called so."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            "A secret's name is that of a variable: up to 100 letters, digits and _, no digit "
            "first.",
            pointer="/name",
        )
    if _RESERVED.fullmatch(name):
        raise InvalidInput(
            f"{name} tells programs how to run, and is no name for a secret.", pointer="/name"
        )
    return name
