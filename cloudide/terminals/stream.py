"""The agent's connection for one terminal, while somebody looks: see `protocol/output.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from cloudide.agents.tunnels import Tunnel
from cloudide.errors import AgentUnavailable, Conflict
from cloudide.protocol.output import Malformed, OutputMessage, Splitter

_log = structlog.get_logger(__name__)


class TerminalStream:
    """Hands each piece to `heard` in the turn of the loop in which it came.

    `over` is done when `finish` was called; it fails when the connection was cut before, when the
    agent broke the protocol, or with what `heard` raised.
    """

    def __init__(self, tunnel: Tunnel, heard: Callable[[bytes | OutputMessage], None]) -> None:
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writable = asyncio.Event()
        self.writable.set()
        self._tunnel = tunnel
        self._heard = heard
        self._splitter = Splitter()
        tunnel.hold(self)

    def write(self, data: bytes) -> None:
        """Pass on what was typed. Who types much waits for `writable` first."""
        self._tunnel.write(data)

    def pause(self) -> None:
        """Let the program wait."""
        self._tunnel.pause_reading()

    def resume(self) -> None:
        self._tunnel.resume_reading()

    def finish(self) -> None:
        """Nothing more is expected."""
        if not self.over.done():
            self.over.set_result(None)

    def close(self) -> None:
        """Let go of the terminal, which lives on. Idempotent."""
        self.finish()
        self.writable.set()
        self._tunnel.abort()

    # ── held by ─────────────────────────────────────────────────────────────────────────────────

    def data_received(self, data: bytes) -> None:
        try:
            for piece in self._splitter.feed(data):
                if self.over.done():
                    return
                self._heard(piece)
        except Malformed as error:
            _log.warning("terminal.malformed", error=str(error))
            self._fail(Conflict("The workspace's agent sent something unexpected."))
        except Exception as error:
            self._fail(error)

    def ended(self, *, cut: bool) -> None:
        self._fail(AgentUnavailable("The connection to the workspace was cut."))

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def _fail(self, error: Exception) -> None:
        self.writable.set()
        if not self.over.done():
            self.over.set_exception(error)
            self._tunnel.abort()
