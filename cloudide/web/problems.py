"""Errors as clients see them: RFC 9457 problem documents, and close frames on websockets."""

from __future__ import annotations

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import CloudIDEError
from cloudide.web.error_pages import error_page

_log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"


class FieldError(msgspec.Struct):
    """`pointer` (RFC 6901) leads to what is wrong in the body; "" is all of it."""

    pointer: str
    detail: str


class Problem(msgspec.Struct, omit_defaults=True):
    """An RFC 9457 problem document. `detail` says what, why, and what to do; `errors` where in the
    body."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    errors: list[FieldError] = []


def problem(error: CloudIDEError) -> Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    pointer = error.details.get("pointer")
    errors = [FieldError(pointer, error.message)] if isinstance(pointer, str) else []
    return _render(Problem(error.title, error.status, error.message, errors=errors), headers)


def _render(document: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(
        msgspec.json.encode(document),
        document.status,
        headers,
        media_type=MEDIA_TYPE,
    )


async def on_domain_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, CloudIDEError)
    # Where another site has sent a browser, nothing of ours is there to read a document.
    if getattr(request.state, "wants_page", False):
        return error_page(error)
    return problem(error)


async def on_http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    document = Problem(str(error.detail), error.status_code, str(error.detail))
    return _render(document, dict(error.headers or {}))


async def on_unexpected(request: Request, error: Exception) -> Response:
    # The log has the trace; a client learns nothing of the inside.
    _log.error("request.failed", path=request.url.path, error=repr(error))
    return _render(
        Problem("Something went wrong", 500, "The server failed at this; its log says how.")
    )
