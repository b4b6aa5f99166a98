"""`/api/v1/workspaces/{id}/history`, `restore` and `blame`: what a file was, and who changed it.

A version is the text at the end of a minute in which something changed; see `collab/history.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.collab.changes import changes
from cloudide.collab.folding import MINUTE
from cloudide.collab.history import Name
from cloudide.collab.replay import UNKNOWN
from cloudide.collab.room import DISK
from cloudide.errors import InvalidInput
from cloudide.identity.permissions import Grant
from cloudide.web.bodies import json_body, json_response
from cloudide.web.files import clean_path
from cloudide.web.openapi import Query, describe
from cloudide.web.services import services

MAX_LIMIT = 500


class AuthorView(msgspec.Struct):
    """`disk` stands for programs in the workspace; an empty id for what nobody remembers."""

    id: str
    name: str
    color: str


class VersionSummary(msgspec.Struct):
    """`time` is when its minute began; `inserted` and `deleted` count characters."""

    version: str
    time: datetime
    authors: list[AuthorView]
    inserted: int
    deleted: int


class HistoryView(msgspec.Struct):
    versions: list[VersionSummary]
    more: bool


class ChangeView(msgspec.Struct):
    """At `start`, `deleted` was replaced by `inserted`; `start` counts characters (code points) of
    the text as it was just before this change."""

    author: AuthorView
    time: datetime
    start: int
    deleted: str
    inserted: str


class VersionView(msgspec.Struct):
    """`changes`, applied one after another to the text of the version before, give `text`;
    `complete` says whether they are all there."""

    version: str
    time: datetime
    authors: list[AuthorView]
    text: str
    changes: list[ChangeView]
    complete: bool


class RestoreBody(msgspec.Struct):
    """Without a `version`, a deleted file that is open gets the text that is shown."""

    path: str
    version: str = ""


class RestoredView(msgspec.Struct):
    """`undo` is the version that holds the text as it was; restoring it undoes the restore.

    Empty when the text is the same.
    """

    hash: str
    undo: str = ""


class BlameRun(msgspec.Struct, rename={"first": "from", "last": "to"}):
    """Lines `from` to `to`, counted from 1, whose newest part `author` wrote at `time`."""

    first: int
    last: int
    author: AuthorView
    time: datetime


class BlameView(msgspec.Struct):
    lines: list[BlameRun]


_OF_FILE = {"path": Query("the file", required=True)}


@describe(
    tag="history",
    query={
        **_OF_FILE,
        "limit": Query("how many", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
        "before": "those before this version",
    },
    HTTP_200=HistoryView,
)
async def show_all(request: Request) -> Response:
    """Versions of the file `path`, newest first: `limit` (100) of them, before version `before`.

    A file made anew goes on where the one before ended.
    """
    grant: Grant = request.state.grant
    limit = request.query_params.get("limit", "100")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit) <= MAX_LIMIT:
        raise InvalidInput(f"limit is a number from 1 to {MAX_LIMIT}.")
    before = request.query_params.get("before")
    versions, more = await services(request).history.versions(
        grant.workspace, _path(request), Name.parse(before) if before else None, int(limit)
    )
    people = await _authors(request, (author for each in versions for author in each.authors))
    return json_response(
        HistoryView(
            [
                VersionSummary(
                    str(each.name),
                    _time(each.name.minute * MINUTE),
                    [people[author] for author in each.authors],
                    each.inserted,
                    each.deleted,
                )
                for each in versions
            ],
            more,
        )
    )


@describe(tag="history", query=_OF_FILE, HTTP_200=VersionView)
async def show(request: Request) -> Response:
    """A version of the file `path`: its text, and what its minute changed."""
    grant: Grant = request.state.grant
    name = Name.parse(request.path_params["version"])
    version = await services(request).history.version(grant.workspace, _path(request), name)
    people = await _authors(request, version.authors)
    return json_response(
        VersionView(
            str(version.name),
            _time(version.name.minute * MINUTE),
            [people[author] for author in version.authors],
            version.text,
            [
                ChangeView(
                    people[edit.author], _time(edit.time), edit.start, edit.deleted, edit.inserted
                )
                for edit in version.edits
            ],
            version.complete,
        )
    )


@describe(tag="history", body=RestoreBody, HTTP_200=RestoredView)
async def restore(request: Request) -> Response:
    """Give the file the text of a version, as an edit of its room by the caller.

    A file that was deleted is made anew.
    """
    body = await json_body(request, RestoreBody)
    grant: Grant = request.state.grant
    path = _file(body.path)
    provided = services(request)
    if not body.version:
        return json_response(RestoredView(await provided.rooms.revive(grant.workspace, path)))
    name = Name.parse(body.version)
    version = await provided.history.version(grant.workspace, path, name)
    hash, room, before = await provided.rooms.restore(
        grant.workspace, path, version.text, version.format, grant.person.id
    )
    undo = await provided.history.name(room, before)
    return json_response(RestoredView(hash, str(undo)))


@describe(tag="history", query=_OF_FILE, HTTP_200=BlameView)
async def blame(request: Request) -> Response:
    """Who wrote each line of the file `path` as it is now.

    The newest part of a line counts, its end included; a deletion leaves nothing that would.
    """
    grant: Grant = request.state.grant
    runs = await services(request).history.blame(grant.workspace, _path(request))
    people = await _authors(request, (run.author for run in runs))
    return json_response(
        BlameView(
            [BlameRun(run.first, run.last, people[run.author], _time(run.time)) for run in runs]
        )
    )


class ByAuthor(msgspec.Struct):
    """`last`: the minute in which they last changed it."""

    author: AuthorView
    last: datetime


class ChangedFileView(msgspec.Struct):
    """`before`: the version that it was at the moment; null: there is none so old."""

    path: str
    authors: list[ByAuthor]
    before: str | None


class ChangesView(msgspec.Struct):
    files: list[ChangedFileView]
    truncated: bool


@describe(
    tag="history",
    query={
        "since": Query(
            "a moment, as RFC 3339 has it", {"type": "string", "format": "date-time"}, required=True
        )
    },
    HTTP_200=ChangesView,
)
async def changed(request: Request) -> Response:
    """Which files have changed since a moment and by whom, the latest first.

    Told are files that somebody had open; `disk` stands for programs in the workspace.
    """
    grant: Grant = request.state.grant
    provided = services(request)
    try:
        since = datetime.fromisoformat(request.query_params.get("since", ""))
        if since.tzinfo is None:
            raise ValueError("no zone")
        moment = since.timestamp()
    except (ValueError, OverflowError) as error:
        raise InvalidInput("since is a moment such as 2026-01-31T12:00:00Z.") from error
    found, truncated = await changes(provided.history.journal, grant.workspace, moment)
    people = await _authors(request, (author for each in found for author in each.authors))
    return json_response(
        ChangesView(
            [
                ChangedFileView(
                    each.path,
                    [
                        ByAuthor(people[author], _time(minute * MINUTE))
                        for author, minute in sorted(each.authors.items(), key=lambda at: -at[1])
                    ],
                    str(each.before) if each.before else None,
                )
                for each in found
            ],
            truncated,
        )
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _path(request: Request) -> str:
    return _file(request.query_params.get("path", ""))


def _file(path: str) -> str:
    path = clean_path(path)
    if not path:
        raise InvalidInput("Name a file.")
    return path


async def _authors(request: Request, ids: Iterable[str]) -> dict[str, AuthorView]:
    """Who the authors are, of whom some may not be here any more."""
    distinct = set(ids)
    people = await asyncio.gather(*(_author(request, id) for id in distinct))
    return {person.id: person for person in people}


async def _author(request: Request, id: str) -> AuthorView:
    if id == DISK:
        return AuthorView(id, "Workspace", "")
    if id == UNKNOWN:
        return AuthorView(id, "Unknown", "")
    user = await services(request).accounts.get(id)
    return AuthorView(id, user.name, user.color) if user else AuthorView(id, "Former member", "")
