"""`…/chat` and `…/comments`: what people of a workspace say to each other."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import InvalidInput
from cloudide.identity.permissions import Action, Grant
from cloudide.together.chat import Message
from cloudide.together.comments import Place, Thread
from cloudide.web.bodies import json_body, json_response, no_content
from cloudide.web.files import clean_path
from cloudide.web.openapi import Query, describe
from cloudide.web.services import services


class ChatView(msgspec.Struct):
    """Oldest first; `more`: there are earlier ones."""

    messages: list[Message]
    more: bool


class Said(msgspec.Struct):
    """Plain text; `src/app.py:12` is shown as a link to that line."""

    text: str


class NewThread(msgspec.Struct):
    place: Place
    text: str


class ThreadMade(msgspec.Struct):
    id: str


class ThreadChange(msgspec.Struct):
    resolved: bool


class CommentsView(msgspec.Struct):
    threads: list[Thread]


@describe(
    tag="together",
    query={"before": Query("the messages before this one", {"type": "integer", "minimum": 1})},
    HTTP_200=ChatView,
)
async def show_chat(request: Request) -> Response:
    """The last hundred messages, or those before one."""
    grant: Grant = request.state.grant
    before = request.query_params.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 16):
        raise InvalidInput("before is the id of a message.")
    messages, more = await services(request).chat.read(
        grant.workspace, int(before) if before else None
    )
    return json_response(ChatView(messages, more))


@describe(tag="together", body=Said, HTTP_201=Message)
async def say(request: Request) -> Response:
    """Say something to everybody here. The last thousand messages are kept."""
    body = await json_body(request, Said)
    grant: Grant = request.state.grant
    return json_response(await services(request).chat.say(grant, body.text), 201)


@describe(tag="together", HTTP_204=None)
async def gather(request: Request) -> Response:
    """Ask everybody who has this workspace open to follow you."""
    grant: Grant = request.state.grant
    services(request).feed.publish("gather", grant.workspace, {"by": grant.person.id})
    return no_content()


@describe(tag="together", HTTP_200=CommentsView)
async def show_comments(request: Request) -> Response:
    """All comments on text, open and resolved."""
    grant: Grant = request.state.grant
    return json_response(CommentsView(await services(request).comments.list(grant.workspace)))


@describe(tag="together", body=NewThread, HTTP_201=ThreadMade)
async def comment(request: Request) -> Response:
    """Comment on a place in a file."""
    body = await json_body(request, NewThread)
    grant: Grant = request.state.grant
    path = clean_path(body.place.path)
    if not path:
        raise InvalidInput("Name a file.")
    place = msgspec.structs.replace(body.place, path=path)
    id = await services(request).comments.begin(grant, place, body.text)
    return json_response(ThreadMade(id), 201)


@describe(tag="together", body=Said, HTTP_204=None)
async def reply(request: Request) -> Response:
    """Answer a comment."""
    body = await json_body(request, Said)
    grant: Grant = request.state.grant
    await services(request).comments.reply(grant, request.path_params["comment"], body.text)
    return no_content()


@describe(tag="together", body=ThreadChange, HTTP_204=None)
async def change(request: Request) -> Response:
    """Resolve a comment, or open it again."""
    body = await json_body(request, ThreadChange)
    grant: Grant = request.state.grant
    id = request.path_params["comment"]
    await services(request).comments.resolve(grant, id, resolved=body.resolved)
    return no_content()


@describe(tag="together", HTTP_204=None)
async def delete(request: Request) -> Response:
    """Delete a comment of yours; owners delete anybody's."""
    grant: Grant = request.state.grant
    id = request.path_params["comment"]
    anybodys = grant.allows(Action.DELETE)
    await services(request).comments.delete(grant, id, anybodys=anybodys)
    return no_content()
