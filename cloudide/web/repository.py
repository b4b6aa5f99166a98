"""`…/git/hunks`, `revert`, `branches`, `log`, `commits/{commit}` and `file`: a repository at hand.

`web/git.py` has the rest of `…/git`: what is done in somebody's name.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.agents.link import Agent
from cloudide.errors import InvalidInput
from cloudide.git.branches import Branches, branches, switch
from cloudide.git.hunks import revert, revert_hunk, stage_hunk
from cloudide.git.log import LIMIT, SKIP_LIMIT, Details, Log, blob, details, diff_of, log
from cloudide.identity.permissions import Grant
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.files import clean_path
from cloudide.web.openapi import Query, describe
from cloudide.web.services import services

_DIRECTORY = "the repository's folder; default: the root"
_TEXT = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store"}


class HunkToStage(msgspec.Struct):
    """`path` is from the repository's top. `hunk`: a hunk as the file's diff has it, from its
    `@@` on. `staged` false: take it out of the index again."""

    path: str
    hunk: str
    staged: bool
    directory: str = ""


class ToRevert(msgspec.Struct):
    """`paths`: whole files; or one with `hunk`, the hunk of it as the diff has it."""

    paths: list[str]
    hunk: str = ""
    directory: str = ""


class NewBranch(msgspec.Struct):
    """The branch to go to. With `start`, a branch or commit, it is made there."""

    branch: str
    start: str = ""
    directory: str = ""


@describe(tag="git", body=HunkToStage, HTTP_204=None)
async def set_hunk_staged(request: Request) -> Response:
    """Stage one hunk of a file, or unstage it; one that is no longer there is refused."""
    body = await json_body(request, HunkToStage)
    agent = await _flushed(request)
    directory, path = clean_path(body.directory), clean_path(body.path)
    await stage_hunk(agent, directory, path, body.hunk, staged=body.staged)
    return no_content()


@describe(tag="git", body=ToRevert, HTTP_204=None)
async def take_back(request: Request) -> Response:
    """Make files, or one hunk, what is staged of them, or else committed.

    Open editors follow; what files were before is in their history.
    """
    body = await json_body(request, ToRevert)
    agent = await _flushed(request)
    directory = clean_path(body.directory)
    request.state.audit |= {"paths": body.paths[:20], "part": bool(body.hunk)}
    if not body.hunk:
        await revert(agent, directory, body.paths)
    elif len(body.paths) == 1:
        await revert_hunk(agent, directory, clean_path(body.paths[0]), body.hunk)
    else:
        raise InvalidInput("A hunk is of one file.")
    return no_content()


@describe(tag="git", query={"directory": _DIRECTORY}, HTTP_200=Branches)
async def show_branches(request: Request) -> Response:
    """Branches here and, as they were when last fetched, on remotes; the latest first."""
    agent, directory = _asked(request)
    return json_response(await branches(agent, directory))


@describe(tag="git", body=NewBranch, HTTP_204=None)
async def go_to_branch(request: Request) -> Response:
    """Go to a branch, for everybody in the workspace, or make one and go there.

    What people have typed is written first; Git refuses what would lose it. Everybody is told.
    """
    body = await json_body(request, NewBranch)
    grant: Grant = request.state.grant
    agent = await _flushed(request)
    request.state.audit |= {"branch": body.branch, "start": body.start}
    await switch(agent, clean_path(body.directory), body.branch, start=body.start)
    person = msgspec.to_builtins(grant.person)
    services(request).feed.publish(
        "git_branch", grant.workspace, {"branch": body.branch, "person": person}
    )
    return no_content()


@describe(
    tag="git",
    query={
        "directory": _DIRECTORY,
        "path": "only commits that changed this file or folder",
        "limit": Query(
            "how many at most",
            {"type": "integer", "minimum": 1, "maximum": LIMIT, "default": LIMIT},
        ),
        "skip": Query(
            "how many newer ones to leave out",
            {"type": "integer", "minimum": 0, "maximum": SKIP_LIMIT, "default": 0},
        ),
    },
    HTTP_200=Log,
)
async def show_log(request: Request) -> Response:
    """Commits of all branches, the newest first, with what a graph of them needs."""
    agent, directory = _asked(request)
    found = await log(
        agent,
        directory,
        limit=_number(request, "limit", LIMIT),
        skip=_number(request, "skip", 0),
        path=clean_path(request.query_params.get("path", "")),
    )
    return json_response(found)


@describe(tag="git", query={"directory": _DIRECTORY}, HTTP_200=Details)
async def show_commit(request: Request) -> Response:
    """A commit's message, and the files that it changed since its first parent."""
    agent, directory = _asked(request)
    return json_response(await details(agent, directory, request.path_params["commit"]))


@describe(
    tag="git",
    query={"directory": _DIRECTORY, "path": "the file, from the repository's top"},
    HTTP_200=None,
)
async def show_commit_diff(request: Request) -> Response:
    """What a commit changed in one file."""
    agent, directory = _asked(request)
    path = clean_path(request.query_params.get("path", ""))
    content = await diff_of(agent, directory, request.path_params["commit"], path)
    return Response(content, headers=_TEXT)


@describe(
    tag="git",
    query={
        "directory": _DIRECTORY,
        "path": "the file, from the repository's top",
        "revision": "a commit's id; default: `HEAD`",
    },
    HTTP_200=None,
)
async def show_file(request: Request) -> Response:
    """A file as it was committed."""
    agent, directory = _asked(request)
    query = request.query_params
    path = clean_path(query.get("path", ""))
    content = await blob(agent, directory, path, query.get("revision", "HEAD"))
    # Never shown as a page of ours, whatever is in it.
    return Response(content, headers={**_TEXT, "X-Content-Type-Options": "nosniff"})


def _asked(request: Request) -> tuple[Agent, str]:
    grant: Grant = request.state.grant
    agent = services(request).agents.agent(grant.workspace)
    return agent, clean_path(request.query_params.get("directory", ""))


async def _flushed(request: Request) -> Agent:
    """The agent, once what people have typed is in the files."""
    agent, _ = _asked(request)
    grant: Grant = request.state.grant
    await services(request).rooms.flush_quietly(grant.workspace)
    return agent


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    try:
        return int(text) if text else default
    except ValueError as error:
        raise InvalidInput(f"{name} is a number.") from error
