"""`/healthz`, `/readyz` and `/metrics`, for whatever watches the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from cloudide.errors import Denied, EngineUnavailable
from cloudide.web.access import is_trusted_watcher
from cloudide.web.bodies import json_response
from cloudide.web.openapi import describe
from cloudide.web.services import Services, services


class Health(msgspec.Struct, omit_defaults=True):
    status: str
    detail: str = ""


@describe(tag="health", HTTP_200=Health)
async def healthz(request: Request) -> Response:
    """The process lives and its loop turns."""
    return json_response({"status": "ok"})


@describe(tag="health", HTTP_200=Health, HTTP_503=Health)
async def readyz(request: Request) -> Response:
    """Workspaces can be started: the container engine answers."""
    try:
        await services(request).runtime.ping()
    except EngineUnavailable as error:
        detail = {"detail": error.message} if is_trusted_watcher(request) else {}
        return json_response({"status": "unavailable", **detail}, 503)
    return json_response({"status": "ready"})


@describe(tag="health", gives="text/plain", HTTP_200=None)
async def metrics(request: Request) -> Response:
    """Prometheus metrics: the process, and how many of what there is.

    For administrators, by an API token, and for whoever asks on the server's own machine.
    """
    if not is_trusted_watcher(request):
        raise Denied(
            "Metrics are for administrators: send an API token of one with the scope admin, or ask "
            "on this machine; the setting metrics_public opens them to all."
        )
    registry = CollectorRegistry()
    registry.register(_Present(services(request)))
    return Response(generate_latest() + generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Present(Collector):
    """Gauges read from the services when somebody asks: nothing is counted on a hot path."""

    def __init__(self, provided: Services) -> None:
        self._services = provided

    def collect(self) -> Iterator[GaugeMetricFamily]:
        provided = self._services
        states = GaugeMetricFamily(
            "cloudide_workspaces", "Workspaces by their state.", labels=["state"]
        )
        for state, count in Counter(provided.supervisor.states()).items():
            states.add_metric([state], count)
        yield states
        rooms, people = provided.rooms.count()
        for name, help, value in (
            ("cloudide_rooms", "Files open for editing.", rooms),
            ("cloudide_room_connections", "Connections to them.", people),
            ("cloudide_sockets", "Websockets of people.", len(provided.live)),
            ("cloudide_terminals_attached", "Terminals looked at.", provided.terminals.attached),
        ):
            yield GaugeMetricFamily(name, help, value=value)
