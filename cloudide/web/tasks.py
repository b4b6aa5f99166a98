"""`/api/v1/workspaces/{id}/tasks` and `…/task-runs`: what a project can run, and how it went."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from cloudide.channel import Channel, Frame
from cloudide.errors import InvalidInput
from cloudide.identity.permissions import Grant
from cloudide.web.bodies import json_body, json_response
from cloudide.web.openapi import describe
from cloudide.web.pagination import MOST, slice_of
from cloudide.web.services import services
from cloudide.web.sockets import Receive

MAX_SIZE = 1000


class NewRun(msgspec.Struct):
    """`force`: also when its inputs have not changed. `cols` and `rows`: of its terminal."""

    force: bool = False
    cols: int = 120
    rows: int = 30


class Measures(msgspec.Struct):
    """`cpu_seconds` of the command and those it waited for; `peak_memory` in bytes, of all."""

    id: str
    state: str
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None


class RunView(msgspec.Struct):
    """`previous`: the last run of the task that passed or failed before this one."""

    id: str
    task: str
    batch: str
    state: str
    person: str
    background: bool
    created_at: str
    lost: int
    started_at: str | None = None
    ready: bool = False
    port: int | None = None
    detail: str | None = None
    exit: dict[str, Any] | None = None
    seconds: float | None = None
    cpu_seconds: float | None = None
    peak_memory: int | None = None
    previous: Measures | None = None


class RunList(msgspec.Struct):
    """`next` is the `cursor` of the page that follows, null at the end."""

    runs: list[RunView]
    next: str | None


class TaskView(msgspec.Struct):
    name: str
    source: str
    command: list[str] | str
    cwd: str
    depends_on: list[str]
    inputs: list[str]
    secrets: list[str]
    background: bool
    last: RunView | None = None


class ProblemView(msgspec.Struct):
    """`line` counts from 1; 0 where it is not known."""

    file: str
    message: str
    line: int


class TaskList(msgspec.Struct):
    tasks: list[TaskView]
    problems: list[ProblemView]


@describe(tag="tasks", HTTP_200=TaskList)
async def show_all(request: Request) -> Response:
    """The tasks of `cloudide.toml`, package.json, the makefile and pyproject.toml."""
    grant: Grant = request.state.grant
    return json_response(await services(request).tasks.list(grant.workspace))


@describe(tag="tasks", body=NewRun, HTTP_201=RunView)
async def run(request: Request) -> Response:
    """Run a task after what it depends on. Unsaved edits are written to the files first."""
    body = await json_body(request, NewRun)
    if not (1 <= body.cols <= MAX_SIZE and 1 <= body.rows <= MAX_SIZE):
        raise InvalidInput(f"cols and rows are numbers from 1 to {MAX_SIZE}.")
    view = await services(request).tasks.start(
        request.state.grant,
        request.path_params["task"],
        force=body.force,
        size=(body.cols, body.rows),
    )
    return json_response(view, 201)


@describe(tag="tasks", query={"task": "those of a task"}, paged=MOST, HTTP_200=RunList)
async def show_runs(request: Request) -> Response:
    """The kept runs, newest first; of one task with `?task=`."""
    grant: Grant = request.state.grant
    task = request.query_params.get("task", "")
    found = await services(request).tasks.runs(grant.workspace, task)
    page, following = slice_of(request, found, lambda run: run["id"])
    return json_response({"runs": page, "next": following})


@describe(tag="tasks", HTTP_200=RunView)
async def stop(request: Request) -> Response:
    """End a run and what was started for it; answers when it has ended."""
    grant: Grant = request.state.grant
    run = request.path_params["run"]
    return json_response(await services(request).tasks.stop(grant.workspace, run))


@describe(tag="tasks", gives="application/octet-stream", HTTP_200=None)
async def show_output(request: Request) -> Response:
    """What a run printed so far, as bytes; `Output-Lost` counts those before that are not kept."""
    grant: Grant = request.state.grant
    content, lost = await services(request).tasks.output(
        grant.workspace, request.path_params["run"]
    )
    headers = {
        "Output-Lost": str(lost),
        # What a program prints is never a page of this site.
        "Content-Type": "application/octet-stream",
        "Content-Disposition": "attachment; filename=output.txt",
        "Cache-Control": "no-store",
    }
    return Response(content, headers=headers)


async def look(
    websocket: WebSocket, channel: Channel
) -> tuple[Receive, Callable[[], Awaitable[None]]]:
    """The socket of one run; see `tasks.output.Onlooker`."""
    grant: Grant = websocket.state.grant
    run = websocket.path_params["run"]
    leave = await services(websocket).tasks.look(grant.workspace, run, channel)

    def receive(frame: Frame) -> None:
        raise InvalidInput("Nothing is to be sent on this socket: tasks read no input.")

    async def end() -> None:
        leave()

    return receive, end
