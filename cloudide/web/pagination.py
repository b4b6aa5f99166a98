"""Pages of long lists: `?limit=&cursor=`, and `next` in the answer.

A cursor names the last thing of a page, not its number, so that what comes or goes meanwhile
neither repeats nor hides anything. It is opaque to clients.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec
from starlette.requests import Request

from cloudide.errors import InvalidInput

DEFAULT, MOST = 100, 1000
T = TypeVar("T")
Key = TypeVar("Key")


def limit_of(request: Request, default: int = DEFAULT) -> int:
    """Raises: InvalidInput: `?limit=` is no number of things to ask for."""
    text = request.query_params.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 5 and 1 <= int(text) <= MOST):
        raise InvalidInput(f"limit is a number from 1 to {MOST}.")
    return int(text)


class Cursor:
    @staticmethod
    def of(request: Request, kind: type[Key]) -> Key | None:
        """What the page begins after; None: at the beginning.

        Raises:
            InvalidInput: it is not one that came as `next`.
        """
        text = request.query_params.get("cursor")
        if text is None:
            return None
        try:
            return msgspec.json.decode(base64.urlsafe_b64decode(text + "=="), type=kind)
        except (binascii.Error, ValueError, msgspec.DecodeError) as error:
            raise InvalidInput("cursor is what came as `next` of the page before.") from error

    @staticmethod
    def to(key: object) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def page_of(
    found: Sequence[T], limit: int, key: Callable[[T], object]
) -> tuple[Sequence[T], str | None]:
    """A page of what was found with one more than `limit`, and the cursor of the next."""
    if len(found) <= limit:
        return found, None
    return found[:limit], Cursor.to(key(found[limit - 1]))


def slice_of(
    request: Request, found: Sequence[T], key: Callable[[T], str], default: int = MOST
) -> tuple[Sequence[T], str | None]:
    """A page of a list that is whole in memory, in its order. One whose last thing is gone
    meanwhile begins anew."""
    limit = limit_of(request, default)
    after = Cursor.of(request, str)
    start = next((index + 1 for index, each in enumerate(found) if key(each) == after), 0)
    return page_of(found[start : start + limit + 1], limit, key)
