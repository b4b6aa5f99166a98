"""`POST /api/v1/workspaces/{id}/convert`: make a file editable that opens read-only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.collab.conversion import convert
from cloudide.collab.text import content_hash
from cloudide.errors import Conflict, InvalidInput, PreconditionFailed
from cloudide.identity.permissions import Grant
from cloudide.web.bodies import json_body, json_response
from cloudide.web.files import clean_path
from cloudide.web.openapi import describe
from cloudide.web.services import services


class ConvertBody(msgspec.Struct):
    """`encoding` of the file as it is, guessed when left out; `eol`: `\\n` or `\\r\\n`, the more
    frequent one when left out."""

    path: str
    encoding: str = ""
    eol: str = ""


class ConvertedView(msgspec.Struct):
    """`encoding` is the one that was read; the file is UTF-8 now, with `lines` ends `eol`."""

    hash: str
    encoding: str
    eol: str
    lines: int


@describe(tag="files", body=ConvertBody, HTTP_200=ConvertedView)
async def convert_file(request: Request) -> Response:
    """Convert a text file to UTF-8 with one kind of line ends, so that it opens for editing."""
    body = await json_body(request, ConvertBody)
    grant: Grant = request.state.grant
    path = clean_path(body.path)
    if not path:
        raise InvalidInput("Name a file.")
    provided = services(request)
    limit = provided.settings.editable_limit
    agent = provided.agents.agent(grant.workspace)
    content = await provided.rooms.read(grant.workspace, path)
    if content is None:
        content = (await agent.read(path, limit)).content or b""
    # To guess an encoding takes its time.
    done = await asyncio.to_thread(convert, content, body.encoding, body.eol)
    before, hash = content_hash(content), content_hash(done.content)
    if hash != before:
        written = await provided.rooms.write(
            grant.workspace, path, done.content, grant.person.id, before
        )
        if written is None:
            try:
                await agent.upload(_once(done.content), path, limit * 4, expected=before)
            except Conflict as error:
                raise PreconditionFailed(
                    "The file was written while it was being converted; try again."
                ) from error
    return json_response(ConvertedView(hash, done.encoding, done.eol, done.lines))


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
