"""ETags and what is asked of them (RFC 9110, sections 8.8.3 and 13.1)."""

from __future__ import annotations

import hashlib

from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import InvalidInput


def etag(revision: int) -> str:
    """The tag of a resource whose changes are counted."""
    return f'"r{revision}"'


def wanted_revision(request: Request) -> int | None:
    """The revision that `If-Match` asks for; None: any.

    Raises:
        InvalidInput: it is no tag of ours.
    """
    value = request.headers.get("if-match", "*").strip()
    if value == "*":
        return None
    digits = value.removeprefix('"r').removesuffix('"')
    if value != f'"r{digits}"' or not (digits.isascii() and digits.isdigit() and len(digits) < 16):
        raise InvalidInput("If-Match takes the ETag that came with the resource, or *.")
    return int(digits)


def tagged(request: Request, response: Response) -> Response:
    """The response with a tag of its content; 304 if the client has that already."""
    tag = f'W/"{hashlib.sha256(bytes(response.body)).hexdigest()[:24]}"'
    kept = [each.strip() for each in request.headers.get("if-none-match", "").split(",")]
    if tag in kept or "*" in kept:
        return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "no-cache"})
    response.headers["ETag"] = tag
    response.headers["Cache-Control"] = "no-cache"  # kept, but asked for each time
    return response
