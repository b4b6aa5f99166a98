"""`/api/v1/workspaces/{id}/activity`, and which messages on sockets are somebody's doing."""

from __future__ import annotations

import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.channel import Frame
from cloudide.identity.permissions import Action, Grant
from cloudide.web.bodies import json_response
from cloudide.web.openapi import describe
from cloudide.web.services import services
from cloudide.workspaces.activity import Kind
from cloudide.workspaces.resources import Resources

# Changes over REST, by what one has to be allowed to do for them.
OF_ACTION = {Action.WRITE: Kind.FILES, Action.EXECUTE: Kind.COMMAND}
# What an emulator sends by itself: answers to a program's questions, and focus reports.
_ANSWER = re.compile(
    rb"(?:\x1b(?:\[[?>=]?[\d;]*(?:[cnRt]|\$y)|\[[IO]|[P\]_][^\x1b\x07]*(?:\x1b\\|\x07)))+"
)
_ANSWER_LIMIT = 4096  # bytes; longer ones are typed or pasted


class HoldView(msgspec.Struct):
    kind: str
    what: str


class ActivityView(msgspec.Struct):
    """`last`: the moment of each kind of activity since the workspace or the server started.
    `holds`: what is at work and keeps it alive. `stops_at`: null while nothing stops it."""

    idle_minutes: float
    last: dict[str, str]
    holds: list[HoldView]
    stops_at: str | None
    warning: bool


@describe(tag="activity", HTTP_200=ActivityView)
async def show(request: Request) -> Response:
    """What keeps the workspace alive, and when it stops."""
    grant: Grant = request.state.grant
    return json_response(services(request).activity.view(grant.workspace))


@describe(tag="activity", HTTP_200=ActivityView)
async def keep(request: Request) -> Response:
    """Keep the workspace running: its time without use begins anew."""
    grant: Grant = request.state.grant
    services(request).activity.touch(grant.workspace, Kind.KEPT)
    return json_response(services(request).activity.view(grant.workspace))


@describe(tag="activity", HTTP_200=Resources)
async def show_resources(request: Request) -> Response:
    """What the workspace uses, now and over the last hour, and its processes."""
    grant: Grant = request.state.grant
    return json_response(await services(request).meter.view(grant.workspace))


def of_document(frame: Frame) -> Kind | None:
    """An update (`protocol/sync.py`) is somebody's edit; cursors and first syncs are not."""
    return Kind.EDIT if frame[:2] == b"\x00\x02" else None


def of_documents(frame: Frame) -> Kind | None:
    """The same behind a document's name (`protocol/hocuspocus.py`)."""
    if not isinstance(frame, bytes) or len(frame) < 3:
        return None
    start = frame[0] + 1 if frame[0] < 0x80 else (frame[0] & 0x7F) + (frame[1] << 7) + 2
    return Kind.EDIT if frame[start : start + 2] == b"\x00\x02" else None


def of_terminal(frame: Frame) -> Kind | None:
    """Typed bytes, but not what the emulator answers a program by itself."""
    if not isinstance(frame, bytes):
        return None
    if frame[:1] == b"\x1b" and len(frame) < _ANSWER_LIMIT and _ANSWER.fullmatch(frame):
        return None
    return Kind.TYPING
