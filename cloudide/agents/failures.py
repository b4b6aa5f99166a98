"""An agent's failures as domain errors, and its texts made fit to be shown."""

from __future__ import annotations

import msgspec

from cloudide.errors import (
    CloudIDEError,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    StorageFull,
    TooLarge,
)
from cloudide.protocol.agent import Failure, FailureCode

# What msgspec raises for hostile input: text that is not UTF-8 and deep nesting have their own.
UNDECODABLE = (msgspec.DecodeError, ValueError, RecursionError)
MESSAGE_LIMIT = 500  # characters of an agent's sentence that are passed on

_ERRORS: dict[FailureCode, type[CloudIDEError]] = {
    "not_found": NotFound,
    "gone": NotFound,
    "exists": Conflict,
    "conflict": Conflict,
    "not_empty": Conflict,
    "outside": Denied,
    "denied": Denied,
    "not_a_file": InvalidInput,
    "not_a_directory": InvalidInput,
    "invalid": InvalidInput,
    "too_large": TooLarge,
    "no_space": StorageFull,
    "internal": CloudIDEError,
}


def error_of(failure: Failure) -> CloudIDEError:
    """The domain error for a failure; its details carry the agent's own `code`."""
    return _ERRORS[failure.code](printable(failure.message) or None, code=failure.code)


def printable(text: str) -> str:
    """Text of an agent, bounded and without control characters (logs and terminals obey those)."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)[
        :MESSAGE_LIMIT
    ]
