"""Request bodies in and JSON out: bounded, decoded once, with an error that names the field."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncIterator
from typing import Any, TypeVar, cast

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cloudide.errors import CloudIDEError, InvalidInput, TooLarge

T = TypeVar("T")
JSON_LIMIT = 64 * 1024
JSON_TYPE = "application/json"


class WrongType(CloudIDEError):
    status, close_code, title = 415, 4415, "The body is of another type"


class Stalled(CloudIDEError):
    status, close_code, title = 408, 4408, "The upload made no progress and was given up"


async def json_body(request: Request, kind: type[T]) -> T:
    """The body as `kind`.

    Raises:
        InvalidInput: not JSON, or not of that shape; it says where. TooLarge: more than a form ever
            has. WrongType: it says itself that it is something else.
    """
    given = request.headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
    if given != JSON_TYPE:
        raise WrongType(f"This takes a body of type {JSON_TYPE}, not {given[:100]!r}.")
    body = await bytes_body(request, JSON_LIMIT)
    try:
        return msgspec.json.decode(body, type=_strict(kind))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message, pointer = _explained(str(error))
        raise InvalidInput(message, pointer=pointer) from error


@functools.cache
def _strict(kind: type[T]) -> type[T]:
    """The same shape, which takes no fields that it does not know: a misspelt one would do
    something else than was meant, unnoticed."""
    if not issubclass(kind, msgspec.Struct):
        return kind
    strict = msgspec.defstruct(kind.__name__, [], bases=(kind,), forbid_unknown_fields=True)
    return cast(type[T], strict)


def _explained(error: str) -> tuple[str, str]:
    """What msgspec says is wrong, for people, with a JSON pointer (RFC 6901) to it."""
    what, _, where = error.partition(" - at `$")
    parts = [each.strip(".[]") for each in re.findall(r"\.[^.\[`]+|\[[^\]]*\]", where)]
    parts = [each for each in parts if each]  # "[...]": some value of an object
    if named := re.search(r"field `([^`]*)`", what):
        parts.append(named[1])
    pointer = "".join("/" + each.replace("~", "~0").replace("/", "~1") for each in parts)
    field = ".".join(parts)
    if what.startswith("Object contains unknown field"):
        return f"The body has a field {field!r}, which means nothing here.", pointer
    if what.startswith("Object missing required field"):
        return f"The body lacks the field {field!r}.", pointer
    if field:
        return f"{field}: {what[:1].lower()}{what[1:]}.", pointer
    return f"The body is not what this takes: {what}.", pointer


async def bytes_body(request: Request, limit: int) -> bytes:
    """The whole body. Raises: TooLarge: more than `limit` bytes."""
    body = bytearray()
    async for chunk in chunks(request, limit):
        body += chunk
    return bytes(body)


async def chunks(request: Request, limit: int, stall: float = 60.0) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        TooLarge: more than `limit` bytes. Stalled: nothing came for `stall` seconds.
        InvalidInput: the client went away.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise TooLarge(f"The body has {int(length):,} bytes; the limit is {limit:,}.")
    seen = 0
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(stall):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            seen += len(chunk)
            if seen > limit:
                raise TooLarge(f"The body has more than {limit:,} bytes, which is the limit.")
            if chunk:
                yield chunk
    except TimeoutError as error:
        raise Stalled() from error
    except ClientDisconnect as error:
        raise InvalidInput("The upload ended before it was complete.") from error


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


def no_content() -> Response:
    return Response(status_code=204)
