"""Request bodies in and JSON out: bounded, decoded once, with an error that names the field."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from cloudide.errors import CloudIDEError, InvalidInput, TooLarge

T = TypeVar("T")
JSON_LIMIT = 64 * 1024


class Stalled(CloudIDEError):
    status, close_code, title = 408, 4408, "The upload made no progress and was given up"


async def json_body(request: Request, kind: type[T]) -> T:
    """The body as `kind`.

    Raises:
        InvalidInput: not JSON, or not of that shape. TooLarge: more than a form ever has.
    """
    body = await bytes_body(request, JSON_LIMIT)
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"The body is not what this takes: {error}.") from error


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
