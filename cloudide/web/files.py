"""`/api/v1/workspaces/{id}/files`, `tree` and `move`: raw bytes in and out of a workspace.

A file that is open in a room is read from the room and written as an edit of it, so that a script
and the people typing see one text. ETags are strong (the hash of the bytes) for files up to the
editing limit, and weak above, where hashing each time would cost too much.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from cloudide.agents.link import Agent
from cloudide.collab.text import content_hash
from cloudide.errors import Conflict, InvalidInput, PreconditionFailed, TooLarge
from cloudide.files.archive import packed
from cloudide.identity.permissions import Grant
from cloudide.web.bodies import bytes_body, chunks, json_body, json_response, no_content
from cloudide.web.openapi import Query, describe
from cloudide.web.services import services

MAX_PATH = 4096
MAX_DEPTH = 64


class EntryView(msgspec.Struct):
    path: str
    type: str
    size: int
    mtime: float


class TreeView(msgspec.Struct):
    entries: list[EntryView]
    truncated: bool = False


class FileWritten(msgspec.Struct):
    path: str
    hash: str


class DeletedView(msgspec.Struct):
    """`deleted`: by which it can be restored; "" where it was too large to keep."""

    deleted: str


class RestoredView(msgspec.Struct):
    path: str


class MoveBody(msgspec.Struct, rename={"source": "from", "target": "to"}):
    source: str
    target: str


def clean_path(path: str) -> str:
    """A path below the workspace's root. Raises: InvalidInput: it is not one."""
    path = path.strip("/")
    parts = path.split("/") if path else []
    if "\0" in path or len(path) > MAX_PATH or any(part in ("", ".", "..") for part in parts):
        raise InvalidInput(
            "A path is relative to the workspace, without empty parts, '.' and '..'."
        )
    return path


def _file_path(request: Request) -> str:
    path = clean_path(request.path_params["path"])
    if not path:
        raise InvalidInput("Name a file.")
    return path


@describe(
    tag="files",
    query={
        "path": "the folder; default: the root",
        "depth": Query("how many levels", {"type": "integer", "minimum": 1, "maximum": MAX_DEPTH}),
    },
    HTTP_200=TreeView,
)
async def tree(request: Request) -> Response:
    """Entries below `path` (the root, if not given), `depth` levels deep."""
    depth = request.query_params.get("depth", "1")
    if not depth.isdigit() or not 1 <= int(depth) <= MAX_DEPTH:
        raise InvalidInput(f"depth is a number from 1 to {MAX_DEPTH}.")
    path = clean_path(request.query_params.get("path", ""))
    found = await _agent(request).list(path, int(depth))
    return json_response(
        TreeView(
            [EntryView(each.path, each.type, each.size, each.mtime) for each in found.entries],
            found.truncated,
        )
    )


@describe(
    tag="files",
    headers={"Range": "one range of bytes", "If-None-Match": "the ETag of what is known already"},
    gives="application/octet-stream",
    HTTP_200=None,
    HTTP_206=None,
    HTTP_304=None,
)
async def read(request: Request) -> Response:
    """A file's bytes; `Range` (one range) and `If-None-Match` are honoured (RFC 9110)."""
    grant: Grant = request.state.grant
    path = _file_path(request)
    provided = services(request)
    content = await provided.rooms.read(grant.workspace, path)
    if content is None:
        agent = provided.agents.agent(grant.workspace)
        try:
            content = (await agent.read(path, provided.settings.editable_limit)).content or b""
        except TooLarge:
            return await _read_large(request, path)
    headers = _headers(path, f'"{content_hash(content)}"')
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    span = _range(request, len(content))
    if span is None:
        return Response(content, headers=headers)
    start, end = span
    headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
    return Response(content[start:end], 206, headers)


async def _read_large(request: Request, path: str) -> Response:
    agent = _agent(request)
    (stat,) = await agent.stat([path])
    size = stat.size if stat else 0
    span = _range(request, size)
    start, end = span or (0, size)
    download = await agent.download(path, start, end - start)
    stat = download.stat
    headers = _headers(path, f'W/"{stat.size:x}-{stat.mtime_ns:x}-{stat.inode:x}"')
    headers["Content-Length"] = str(download.length)
    if span:
        headers["Content-Range"] = f"bytes {start}-{start + download.length - 1}/{stat.size}"
    return StreamingResponse(aiter(download), 206 if span else 200, headers)


@describe(
    tag="files",
    takes="application/octet-stream",
    query={"type": Query("`directory` makes one", {"type": "string", "enum": ["directory"]})},
    headers={"If-Match": "the ETag that it has to have still", "If-None-Match": "* for a new file"},
    HTTP_200=FileWritten,
    HTTP_201=FileWritten,
)
async def write(request: Request) -> Response:
    """Write a file; `If-Match` with an ETag, or `If-None-Match: *` for a new one.

    With `?type=directory` it makes a directory, and takes no body.
    """
    grant: Grant = request.state.grant
    path = _file_path(request)
    provided = services(request)
    agent = provided.agents.agent(grant.workspace)
    if request.query_params.get("type") == "directory":
        await agent.make_directory(path)
        return json_response(FileWritten(path, ""), 201)
    expected = _expected(request)
    settings = provided.settings
    if expected != "" and provided.rooms.is_open(grant.workspace, path):
        content = await bytes_body(request, settings.editable_limit)
        author = grant.person.id
        hash = await provided.rooms.write(grant.workspace, path, content, author, expected)
        if hash is not None:
            return json_response(FileWritten(path, hash), 200, {"ETag": f'"{hash}"'})
        body = _once(content)
    else:
        body = chunks(request, settings.upload_limit, settings.upload_stall)
    (before,) = await agent.stat([path])
    try:
        done = await agent.upload(
            body, path, settings.upload_limit, expected=expected, parents=True
        )
    except Conflict as error:
        if expected is not None and error.details.get("code") in ("conflict", "exists"):
            raise PreconditionFailed() from error
        raise
    status = 201 if before is None else 200
    return json_response(FileWritten(path, done.hash), status, {"ETag": f'"{done.hash}"'})


@describe(
    tag="files",
    query={
        "recursive": Query("a folder with all in it", {"type": "boolean"}),
        "undo": Query("keep it for a while, if it is not too large", {"type": "boolean"}),
    },
    HTTP_200=DeletedView,
    HTTP_204=None,
)
async def delete(request: Request) -> Response:
    """Delete a file, or with `?recursive=true` a directory with all in it.

    With `?undo=true` the answer says how to get it back: `POST …/deleted/{deleted}/restore`.
    """
    recursive = request.query_params.get("recursive") == "true"
    path, agent = _file_path(request), _agent(request)
    if request.query_params.get("undo") != "true":
        await agent.delete(path, recursive=recursive)
        return no_content()
    grant: Grant = request.state.grant
    provided = services(request)
    await provided.rooms.flush_quietly(grant.workspace)  # with what was typed last
    archive = await provided.deleted.pack(agent, path)
    await agent.delete(path, recursive=recursive)
    kept = provided.deleted.add(grant.workspace, path, archive) if archive is not None else ""
    return json_response(DeletedView(kept))


@describe(tag="files", HTTP_200=RestoredView)
async def restore_deleted(request: Request) -> Response:
    """Put back what was deleted with `?undo=true` within the last ten minutes."""
    grant: Grant = request.state.grant
    deleted = request.path_params["deleted"]
    path = await services(request).deleted.restore(grant.workspace, _agent(request), deleted)
    return json_response(RestoredView(path))


@describe(tag="files", gives="application/gzip", HTTP_200=None)
async def download_folder(request: Request) -> Response:
    """A folder with all in it as a `.tar.gz`, with what is in open editors."""
    grant: Grant = request.state.grant
    path = clean_path(request.path_params["path"])
    provided = services(request)
    agent = _agent(request)
    await provided.rooms.flush_quietly(grant.workspace)
    parts = packed(agent, path)
    # What is wrong from the start is told by the status.
    try:
        first = await anext(parts)
    except BaseException:
        await parts.aclose()
        raise

    async def body() -> AsyncIterator[bytes]:
        async with aclosing(parts):
            yield first
            async for part in parts:
                yield part

    name = quote(path.rpartition("/")[2] or "workspace")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{name}.tar.gz",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(body(), media_type="application/gzip", headers=headers)


@describe(tag="files", body=MoveBody, HTTP_200=dict[str, str])
async def move(request: Request) -> Response:
    """Rename or move a file or directory; an existing target is never replaced."""
    body = await json_body(request, MoveBody)
    grant: Grant = request.state.grant
    source, target = clean_path(body.source), clean_path(body.target)
    if not source or not target or f"{target}/".startswith(f"{source}/"):
        raise InvalidInput("Something can be moved neither into itself nor onto the root.")
    provided = services(request)
    # What was typed last goes along.
    await provided.rooms.flush(grant.workspace, source)
    await _agent(request).move(source, target)
    await provided.rooms.moved(grant.workspace, source, target)
    await provided.comments.moved(grant.workspace, source, target)
    return json_response({})


def _agent(request: Request) -> Agent:
    return services(request).agents.agent(request.state.grant.workspace)


def _headers(path: str, etag: str) -> dict[str, str]:
    return {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        # What a workspace holds is never a page of this site: no type, no script, a download.
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.rpartition('/')[2])}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Cache-Control": "private, no-cache",
    }


def _range(request: Request, size: int) -> tuple[int, int] | None:
    """The one range asked for, as start and end; None for everything (RFC 9110 section 14.2)."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
    return (start, end) if start < end else None


def _expected(request: Request) -> str | None:
    """The hash a write expects, "" for "must not exist", None for whatever is there."""
    if request.headers.get("if-none-match") == "*":
        return ""
    match = request.headers.get("if-match")
    if match is None:
        return None
    found = re.fullmatch(r'"([0-9a-f]{64})"', match.strip())
    if found is None:
        raise PreconditionFailed("If-Match takes one strong ETag, as a GET of this file gave it.")
    return found[1]


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
