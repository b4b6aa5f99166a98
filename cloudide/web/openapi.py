"""The OpenAPI 3.1 description of the REST interface, at `/api/openapi.json`.

Handlers name their bodies with `describe`; SpecTree collects them. Bodies are decoded by
`bodies.json_body`, once and with our own problem documents, so SpecTree only describes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from spectree import Response as Answers
from spectree import SpecTree
from spectree.model_adapter import get_msgspec_model_adapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import cloudide
from cloudide.web import convertors as convertors  # registers them before `spec` looks
from cloudide.web.bodies import json_response

Handler = Callable[[Request], Awaitable[Response]]

spec = SpecTree(
    "starlette",
    model_adapter=get_msgspec_model_adapter(),
    title="CloudIDE",
    version=cloudide.__version__,
    openapi_version="3.1.0",
)


def describe(
    *, body: type[Any] | None = None, tag: str, **answers: type[Any] | None
) -> Callable[[Handler], Handler]:
    """Describe a handler: its JSON body, and for each status (`HTTP_201=…`) the answer's shape."""
    return spec.validate(json=body, resp=Answers(**answers), tags=[tag], skip_validation=True)


def register(routes: Sequence[BaseRoute]) -> None:
    """Say which routes there are to describe."""
    # An application of its own: SpecTree adds pages to its application, and knows no websockets.
    described = [
        route for route in routes if isinstance(route, Route) and route.path.startswith("/api/v1/")
    ]
    spec.register(Starlette(routes=described))


async def document(request: Request) -> Response:
    """The description itself."""
    return json_response(spec.spec)
