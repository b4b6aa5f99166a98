"""`/healthz`, `/readyz` and `/metrics`, for whatever watches the server."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import EngineUnavailable
from cloudide.web.bodies import json_response
from cloudide.web.services import services


async def healthz(request: Request) -> Response:
    """The process lives and its loop turns."""
    return json_response({"status": "ok"})


async def readyz(request: Request) -> Response:
    """Workspaces can be started: the container engine answers."""
    try:
        await services(request).runtime.check()
    except EngineUnavailable as error:
        return json_response({"status": "unavailable", "detail": error.message}, 503)
    return json_response({"status": "ready"})


async def metrics(request: Request) -> Response:
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
