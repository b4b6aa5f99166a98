"""`/api/v1/audit`, and how what people do comes to be recorded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from cloudide.errors import CloudIDEError, InvalidInput, TooMany
from cloudide.identity.audit import DONE, Record
from cloudide.web.access import Caller, require_administrator
from cloudide.web.bodies import json_response
from cloudide.web.openapi import Query, describe
from cloudide.web.services import services

SIGN_IN = "session.begin"
PAGE_LIMIT = 1000
# Parts of a path that name what was done to; a workspace has a column of its own.
_NAMING = (
    *("user", "team", "request", "invite", "session", "token", "provider", "identity"),
    *("terminal", "task", "port", "delivery", "secret", "build"),
)


class RecordView(msgspec.Struct):
    seq: int
    at: datetime
    user: str
    name: str
    token: str
    address: str
    action: str
    workspace: str
    detail: dict[str, Any]
    outcome: str


class RecordList(msgspec.Struct):
    """The newest first; `next` is the `before` of the page that follows, null at the end."""

    records: list[RecordView]
    next: int | None


@asynccontextmanager
async def recorded(connection: HTTPConnection, action: str) -> AsyncIterator[None]:
    """Record what the block does for somebody, or why it did not; "": nothing.

    The block leaves who it was in the state's `caller`, and more in `audit`: `by` and `name` of
    somebody who was nobody before, the `workspace` if no path names it, another `action` where one
    address is for several, and details.
    """
    if not action:
        yield
        return
    detail: dict[str, Any] = {}
    connection.state.audit = detail
    try:
        yield
    except CloudIDEError as error:
        if _is_worth_it(connection, action, error):
            named = detail.pop("action", action)
            await record(connection, named, detail, f"{error.status} {error.title}")
        raise
    if "by" in detail or _caller(connection) is not None:
        await record(connection, detail.pop("action", action), detail)


def _is_worth_it(connection: HTTPConnection, action: str, error: CloudIDEError) -> bool:
    """Whether a refusal is recorded: not what anybody may cause as often as they like."""
    if isinstance(error, (InvalidInput, TooMany)):
        return False
    return action == SIGN_IN or _caller(connection) is not None


def _caller(connection: HTTPConnection) -> Caller | None:
    return getattr(connection.state, "caller", None)


async def record(
    connection: HTTPConnection, action: str, detail: dict[str, Any], outcome: str = DONE
) -> None:
    """Record one thing that somebody did over this connection."""
    caller = _caller(connection)
    user = caller.user if caller is not None else None
    parts = connection.path_params
    named = {name: parts[name] for name in _NAMING if name in parts}
    await services(connection).audit.append(
        action,
        user=detail.pop("by", user.id if user else ""),
        name=detail.pop("name", user.name if user else ""),
        token=user.limit.token if user and user.limit else "",
        address=connection.client.host if connection.client else "",
        workspace=detail.pop("workspace", parts.get("workspace", "")),
        detail={**named, **detail},
        outcome=outcome,
    )


@describe(
    tag="audit",
    query={
        "before": Query("those before this number", {"type": "integer", "minimum": 1}),
        "limit": Query("how many", {"type": "integer", "minimum": 1, "maximum": PAGE_LIMIT}),
        "workspace": "those of a workspace",
    },
    HTTP_200=RecordList,
)
async def show(request: Request) -> Response:
    """What people did, for administrators: `?before=` a number, `?limit=`, `?workspace=`."""
    require_administrator(request)
    query = request.query_params
    before, limit = _number(query.get("before")), _number(query.get("limit", "100"))
    if limit is None or not 1 <= limit <= PAGE_LIMIT:
        raise InvalidInput(f"limit is a number from 1 to {PAGE_LIMIT}.")
    found = await services(request).audit.page(
        before=before, limit=limit, workspace=query.get("workspace", "")
    )
    following = found[-1].seq if len(found) == limit and found[-1].seq > 1 else None
    return json_response(RecordList([_view(each) for each in found], following))


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidInput("before and limit are numbers.")
    return int(text)


def _view(record: Record) -> RecordView:
    fields = msgspec.structs.asdict(record)
    del fields["mac"]
    fields["at"] = datetime.fromtimestamp(record.at, UTC)
    fields["detail"] = msgspec.json.decode(record.detail)
    return RecordView(**fields)
