"""`…/search`, `…/replace` and `…/paths`: finding things in the files, and changing them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cloudide.errors import CloudIDEError, InvalidInput, TooLarge
from cloudide.identity.permissions import Grant
from cloudide.languages.edits import FILES, Replacement
from cloudide.protocol.languages import Edited
from cloudide.search.ripgrep import Found, Line, Query
from cloudide.search.search import Done
from cloudide.web.bodies import json_body, json_response
from cloudide.web.files import clean_path
from cloudide.web.openapi import describe
from cloudide.web.services import services

LINES = "application/x-ndjson"
REPLACEMENT_LIMIT = 10_000  # characters


class SearchBody(msgspec.Struct, kw_only=True):
    """`query`: a text, or with `regex` an expression as Rust's `regex` crate has them. `case`: tell
    upper and lower case apart. `include`, `exclude`: patterns of files as in .gitignore. `ignored`:
    look also into what .gitignore names."""

    query: str
    regex: bool = False
    case: bool = False
    word: bool = False
    include: list[str] = []
    exclude: list[str] = []
    ignored: bool = False

    def read(self) -> Query:
        return Query(
            self.query,
            self.regex,
            self.case,
            self.word,
            tuple(self.include),
            tuple(self.exclude),
            self.ignored,
        )


class FileFound(msgspec.Struct, tag_field="type", tag="file"):
    path: str
    lines: list[Line]


class SearchDone(msgspec.Struct, tag_field="type", tag="done"):
    files: int
    matches: int
    truncated: bool
    reason: str


class SearchFailed(msgspec.Struct, tag_field="type", tag="error"):
    detail: str


class ReplaceBody(SearchBody, kw_only=True):
    """Replace what a search finds in the files `paths`, as one edit.

    In a regular expression's `replacement`, `$1` or `$name` stand for groups. `only`: by path, the
    matches that are meant, as line (from 1) and column in bytes (from 0) that the search gave; all
    of a file that is not named there.
    """

    replacement: str
    paths: Annotated[list[str], msgspec.Meta(min_length=1, max_length=FILES)]
    only: dict[str, list[tuple[int, int]]] = {}


class PathsView(msgspec.Struct):
    paths: list[str]
    truncated: bool


@describe(tag="files", body=SearchBody, gives=LINES, HTTP_200=None)
async def search(request: Request) -> Response:
    """Search the files, with what is in open editors; a line of JSON for each file as it is found.

    Each line's `type` is `file`, at the end `done`, or `error`. Closing the connection ends the
    search.
    """
    query = (await json_body(request, SearchBody)).read()
    grant: Grant = request.state.grant
    provided = services(request)
    agent = provided.agents.agent(grant.workspace)
    await provided.rooms.flush_quietly(grant.workspace)
    found = provided.searches.find(grant.workspace, agent, query)
    # What is wrong with the search itself is told by the status.
    try:
        first = await anext(found)
    except BaseException:
        await found.aclose()
        raise

    async def lines() -> AsyncIterator[bytes]:
        async with aclosing(found):
            yield _line(first)
            try:
                async for each in found:
                    yield _line(each)
            except CloudIDEError as error:
                yield msgspec.json.encode(SearchFailed(error.message)) + b"\n"

    return StreamingResponse(lines(), media_type=LINES, headers={"Cache-Control": "no-store"})


@describe(tag="files", body=ReplaceBody, HTTP_200=Edited)
async def replace(request: Request) -> Response:
    """Replace what is found, as one edit of yours in the files' documents: whoever has one of them
    open sees it, and `POST …/edits/{id}/undo` takes all of it back. What has changed since it was
    found is an error, and nothing is changed."""
    body = await json_body(request, ReplaceBody)
    if len(body.replacement) > REPLACEMENT_LIMIT or "\0" in body.replacement:
        raise InvalidInput(f"A replacement has at most {REPLACEMENT_LIMIT:,} characters.")
    grant: Grant = request.state.grant
    provided = services(request)
    agent = provided.agents.agent(grant.workspace)
    query, paths = body.read(), [clean_path(path) for path in body.paths]
    await provided.rooms.flush_quietly(grant.workspace)
    wanted = {clean_path(path): {*places} for path, places in body.only.items()}
    plan: dict[str, list[Replacement]] = {}
    async with aclosing(provided.searches.find(grant.workspace, agent, query, paths)) as found:
        async for each in found:
            if isinstance(each, Done):
                if each.truncated:
                    raise TooLarge(f"{each.reason} Nothing was replaced: narrow the search.")
            elif each.path in paths:
                plan[each.path] = _meant(each, wanted.get(each.path), body.replacement)
    if query.regex:
        becomes = await provided.searches.replacements(
            grant.workspace, agent, query, body.replacement, [*plan]
        )
        for path, list_ in plan.items():
            plan[path] = [
                msgspec.structs.replace(each, text=becomes[path, each.line + 1, each.start])
                for each in list_
                if (path, each.line + 1, each.start) in becomes
            ]
    plan = {path: list_ for path, list_ in plan.items() if list_}
    edited = await provided.languages.replace(grant, "Replace in files", plan)
    return json_response(edited or Edited("", "Replace in files", [], 0))


@describe(tag="files", HTTP_200=PathsView)
async def paths(request: Request) -> Response:
    """The paths of all files, but for those that .gitignore names."""
    grant: Grant = request.state.grant
    provided = services(request)
    agent = provided.agents.agent(grant.workspace)
    found, truncated = await provided.searches.paths(grant.workspace, agent)
    return json_response(PathsView(found, truncated))


def _meant(found: Found, wanted: set[tuple[int, int]] | None, text: str) -> list[Replacement]:
    return [
        Replacement(match.line - 1, *match.bytes, text=text, instead_of=match.text)
        for line in found.lines
        for match in line.matches
        if wanted is None or (match.line, match.bytes[0]) in wanted
    ]


def _line(each: Found | Done) -> bytes:
    message = (
        FileFound(each.path, each.lines)
        if isinstance(each, Found)
        else SearchDone(each.files, each.matches, each.truncated, each.reason)
    )
    return msgspec.json.encode(message) + b"\n"
