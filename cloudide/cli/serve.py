"""`cloudide serve`: one process, one event loop, one listening address."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import time
from typing import Any

import structlog
import uvicorn
import uvloop

from cloudide import settings as settings_
from cloudide.errors import CloudIDEError, Unavailable
from cloudide.images.stock import Progress, StockImages
from cloudide.settings import Settings
from cloudide.telemetry import configure_logging
from cloudide.web.http_wire import http_protocol
from cloudide.web.wire import WebSocketWire
from cloudide.workspaces import inotify

_log = structlog.get_logger(__name__)

DRAIN_SECONDS = 5
SWITCH_SECONDS = 0.0005
# An edit leaves some objects behind that wait for the collector; it need not look for them often.
COLLECT_AFTER = (20_000, 20, 20)
# The socket library's limit lies above ours, so that ours is the one a client is told of.
FRAME_HEADROOM = 64 * 1024


def serve(**options: Any) -> None:
    """Run until SIGINT or SIGTERM.

    Raises:
        CloudIDEError: it could not start; the message says why.
    """
    settings = settings_.load(**options)
    configure_logging(settings.log_format)
    # The event loop waits for a thread that computes (a replay of history) no longer than this.
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(_serve(settings), loop_factory=lambda: _Loop(settings.tls_timeout))


class _Loop(uvloop.Loop):
    """A loop whose servers give up TLS handshakes that are not done in time: uvicorn has no way to
    say so, and a minute, the default, is long for somebody who says nothing."""

    def __init__(self, tls_timeout: float) -> None:
        super().__init__()
        self._tls_timeout = tls_timeout

    async def create_server(self, *arguments: Any, **options: Any) -> asyncio.AbstractServer:
        if options.get("ssl") is not None:
            options.setdefault("ssl_handshake_timeout", self._tls_timeout)
        return await super().create_server(*arguments, **options)


async def _serve(settings: Settings) -> None:
    from cloudide.app import running

    began = time.monotonic()
    listening = _listen(settings.listen)
    try:
        async with running(settings) as app:
            services = app.state.services
            for warning in inotify.raise_limits():
                _log.warning("inotify", detail=warning)
            preparing = asyncio.create_task(_prepare(services.images.stock))
            http = http_protocol(app.state.previews, settings.head_timeout)
            config = uvicorn.Config(
                app,
                ws=WebSocketWire,
                ws_per_message_deflate=False,
                ws_max_size=settings.collab_frame_limit + FRAME_HEADROOM,
                ws_ping_interval=20.0,
                ws_ping_timeout=20.0,
                http=http,  # pyright: ignore[reportArgumentType]
                lifespan="off",
                server_header=False,
                proxy_headers=False,  # by default it would believe whoever is on this machine
                access_log=False,
                log_config=None,
                timeout_graceful_shutdown=DRAIN_SECONDS,
                ssl_certfile=settings.tls_certificate or None,
                ssl_keyfile=settings.tls_key or None,
            )
            server = uvicorn.Server(config)
            token = await services.accounts.create_sign_in_token()
            _say(f"CloudIDE is ready on {settings.listen} ({time.monotonic() - began:.1f} s).")
            _say(f"Sign in here, once: {settings.origin}/signin#token={token}")
            _settle()
            try:
                await _until_stopped(server, listening)
            finally:
                preparing.cancel()
                await asyncio.gather(preparing, return_exceptions=True)
    finally:
        listening.close()
    _say("CloudIDE has stopped. Workspaces keep running.")


async def _until_stopped(server: uvicorn.Server, listening: socket.socket) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await server.serve(sockets=[listening])


async def _prepare(images: StockImages) -> None:
    """Build what is missing while the server already answers."""
    try:
        await images.prepare(_report)
    except CloudIDEError as error:
        _say(f"Images: {error.message}")
    _settle()  # the first call to the engine has loaded its library


def _settle() -> None:
    """Take what is loaded by now, which lives as long as the process, out of garbage collection:
    going through all of it stops every socket for 50 ms and more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


def _report(progress: Progress) -> None:
    _say(f"  {progress.step}: {progress.message} ({progress.seconds:.1f} s)")


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host.strip("[]"), int(port)), family=family, backlog=2048)
    except OSError as error:
        raise Unavailable(
            f"Cannot listen on {address}: {error.strerror}. Stop what uses it, or choose another "
            "address with --listen (and --public-url)."
        ) from error
    listening.setblocking(False)
    return listening


def _say(line: str) -> None:
    print(line, flush=True)  # standard output is for the person; the log goes to standard error
