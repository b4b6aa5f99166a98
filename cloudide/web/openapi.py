"""The OpenAPI 3.1 description of the REST interface, at `/api/openapi.json`.

It is made from the table of routes, and from what `describe` says of a handler: its body, its
query, its answers. Errors are problem documents everywhere, so that they need not be said.
https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cache
from typing import Any, Protocol

import msgspec
from starlette.requests import Request
from starlette.responses import Response

import cloudide
from cloudide.web import convertors as convertors  # registers what paths may hold
from cloudide.web.access import InPerson, Public
from cloudide.web.bodies import json_response
from cloudide.web.pagination import MOST
from cloudide.web.preconditions import tagged
from cloudide.web.problems import MEDIA_TYPE, Problem

Handler = Callable[[Request], Awaitable[Response]]

TITLE = "CloudIDE"
INTRODUCTION = (
    "Requests are authenticated by a session's cookie (with the right `Origin` for whatever "
    "changes something) or by an API token. Errors are problem documents (RFC 9457). Every POST "
    "takes an `Idempotency-Key`: sent again within a day it gets the same answer, once done."
)
_STATUS = re.compile(r"HTTP_(\d{3})")
_PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")
_REF = "#/components/schemas/{name}"
_PATHS: Mapping[str, dict[str, Any]] = {
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "path": {"type": "string", "minLength": 1, "description": "Below the workspace's folder."},
}
_REASONS = {
    400: "The request is not valid; `errors` says where",
    401: "Sign in first",
    403: "You may not do this",
    404: "There is no such thing, or you may not know of it",
    409: "It conflicts with the present state",
    412: "It has changed meanwhile",
    413: "It is larger than the limit",
    415: "The body is of another type",
    422: "The Idempotency-Key was used for another request",
    429: "Too many; `Retry-After` says when to come back",
    503: "Not available right now; `Retry-After` says when to come back",
}


class Query(msgspec.Struct, frozen=True):
    """A parameter of the query."""

    description: str
    schema: Mapping[str, Any] = msgspec.field(default_factory=lambda: {"type": "string"})
    required: bool = False


class Described(msgspec.Struct, frozen=True):
    """What is said of a handler. `takes`, `gives`, `refuses`: media types of bodies that
    are not JSON."""

    tag: str
    body: type[Any] | None
    takes: str
    gives: str
    refuses: str
    query: Mapping[str, Query]
    headers: Mapping[str, str]
    answers: Mapping[int, Any]


class Endpoint(Protocol):
    """What is looked at of a route."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def access(self) -> object: ...
    @property
    def handler(self) -> Any: ...


_described: dict[Any, Described] = {}
_endpoints: list[Endpoint] = []


def describe(
    *,
    tag: str,
    body: type[Any] | None = None,
    takes: str = "",
    gives: str = "",
    refuses: str = "",
    query: Mapping[str, str | Query] | None = None,
    headers: Mapping[str, str] | None = None,
    paged: int = 0,
    **answers: Any,
) -> Callable[[Handler], Handler]:
    """Describe a handler: its body, and for each status (`HTTP_201=…`) the shape of the answer.

    None is an answer without JSON: empty, or of the media type `gives`. `refuses`: the media type
    of errors that people see rather than programs. `paged` stands for the
    parameters of `pagination`: how many things a page has where nobody says.
    """
    asked = {
        name: Query(each) if isinstance(each, str) else each for name, each in (query or {}).items()
    }
    if paged:
        asked["limit"] = Query(
            "how many at most",
            {"type": "integer", "minimum": 1, "maximum": MOST, "default": paged},
        )
        asked["cursor"] = Query("`next` of the page before")
    statuses = {int(_STATUS.fullmatch(name)[1]): each for name, each in answers.items()}  # pyright: ignore[reportOptionalSubscript]

    def described(handler: Handler) -> Handler:
        _described[handler] = Described(
            tag, body, takes, gives, refuses, asked, headers or {}, statuses
        )
        return handler

    return described


def register(endpoints: Iterable[Endpoint]) -> None:
    """Say which routes there are to describe."""
    _endpoints[:] = endpoints
    _document.cache_clear()


@cache
def _document() -> dict[str, Any]:
    return build(_endpoints)


def build(endpoints: list[Endpoint]) -> dict[str, Any]:
    """The document for these routes."""
    shapes: dict[Any, None] = {Problem: None}
    for endpoint in endpoints:
        said = _said_of(endpoint)
        for shape in (said.body, *said.answers.values()):
            if shape is not None:
                shapes[shape] = None
    schemas, components = msgspec.json.schema_components(shapes, ref_template=_REF)
    found = dict(zip(shapes, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    tags: dict[str, None] = {}
    for endpoint in endpoints:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, found)
        tags[_said_of(endpoint).tag] = None
    for shape in {_said_of(each).body for each in endpoints}:
        name = found[shape]["$ref"].rpartition("/")[2] if shape in found else ""
        if name in components:
            components[name]["additionalProperties"] = False  # `bodies.json_body` refuses others
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": cloudide.__version__, "description": INTRODUCTION},
        "tags": [{"name": tag} for tag in tags],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "session": {"type": "apiKey", "in": "cookie", "name": "cloudide"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def undescribed(endpoints: Iterable[Endpoint]) -> list[str]:
    """The routes of whose handlers nothing was said; a test wants none."""
    return [f"{each.method} {each.path}" for each in endpoints if each.handler not in _described]


def body_of(endpoint: Endpoint) -> type[Any] | None:
    """The shape of the JSON body that a route takes, if it takes one."""
    return _said_of(endpoint).body


def _said_of(endpoint: Endpoint) -> Described:
    module = endpoint.handler.__module__.rpartition(".")[2]
    return _described.get(endpoint.handler) or Described(module, None, "", "", "", {}, {}, {})


def _operation(endpoint: Endpoint, schemas: Mapping[Any, Any]) -> dict[str, Any]:
    said, handler = _said_of(endpoint), endpoint.handler
    summary, _, more = (inspect.getdoc(handler) or handler.__name__).partition("\n\n")
    operation: dict[str, Any] = {
        "operationId": f"{handler.__module__.rpartition('.')[2]}.{handler.__name__}",
        "summary": summary.replace("\n", " "),
        "tags": [said.tag],
        "parameters": [*_parameters(endpoint, said)],
        "responses": _responses(endpoint, said, schemas),
        "security": _security(endpoint.access),
    }
    if more:
        operation["description"] = more
    if said.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[said.body]}},
        }
    elif said.takes:
        operation["requestBody"] = {"required": True, "content": {said.takes: {"schema": {}}}}
    return operation


def _parameters(endpoint: Endpoint, said: Described) -> Iterable[dict[str, Any]]:
    for name in _PARAMETER.findall(endpoint.path):
        schema = dict(_PATHS.get(name, {"type": "string", "minLength": 1}))
        description = schema.pop("description", "")
        parameter = {"name": name, "in": "path", "required": True, "schema": schema}
        yield {**parameter, "description": description} if description else parameter
    for name, query in said.query.items():
        yield {
            "name": name,
            "in": "query",
            "required": query.required,
            "description": query.description,
            "schema": dict(query.schema),
        }
    headers = dict(said.headers)
    if endpoint.method == "POST" and not isinstance(endpoint.access, Public):
        headers["Idempotency-Key"] = "up to 255 characters; the same request is done once"
    for name, description in headers.items():
        schema = {"type": "string"}
        yield {"name": name, "in": "header", "description": description, "schema": schema}


def _responses(
    endpoint: Endpoint, said: Described, schemas: Mapping[Any, Any]
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for status, shape in said.answers.items():
        answer: dict[str, Any] = {"description": _REASONS.get(status, "Done")}
        if shape is not None:
            answer["content"] = {"application/json": {"schema": schemas[shape]}}
        elif said.gives and status not in (204, 303, 304):
            answer["content"] = {said.gives: {"schema": {}}}
        found[str(status)] = answer
    content: dict[str, Any] = {MEDIA_TYPE: {"schema": schemas[Problem]}}
    if said.refuses:
        content[said.refuses] = {"schema": {}}
    problem = {"content": content}
    for status in _refusals(endpoint, said):
        found.setdefault(str(status), {"description": _REASONS[status], **problem})
    found["default"] = {"description": "Any other error", **problem}
    return found


def _refusals(endpoint: Endpoint, said: Described) -> Iterable[int]:
    yield 400
    if not isinstance(endpoint.access, Public):
        yield from (401, 403, 404, 429)
        if endpoint.method == "POST":
            yield from (409, 422)
    if said.body is not None:
        yield from (413, 415)
    if "If-Match" in said.headers:
        yield 412
    yield 503


def _security(access: object) -> list[dict[str, list[str]]]:
    if isinstance(access, Public):
        return [{}, {"session": []}, {"token": []}]
    return [{"session": []}] if isinstance(access, InPerson) else [{"session": []}, {"token": []}]


@describe(
    tag="health",
    headers={"If-None-Match": "the ETag of what is known already"},
    HTTP_200=dict[str, Any],
    HTTP_304=None,
)
async def document(request: Request) -> Response:
    """The description itself."""
    # A quarter of a second of work, of which a server that nobody asks has no use.
    return tagged(request, json_response(await asyncio.to_thread(_document)))
