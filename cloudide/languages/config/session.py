"""The configuration server in our own process: messages in, messages out, no pipe between.

It is for one workspace, as a process would be; the multiplexer is its only client.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import structlog
from pygls.exceptions import JsonRpcException

from cloudide.languages.config.server import create

_log = structlog.get_logger(__name__)


class Session:
    """A server that runs until `close`. `on_message` is called with the body of each message that
    it sends, on the event loop and from within `send`, too."""

    def __init__(self, on_message: Callable[[bytes], None]) -> None:
        self._on_message = on_message
        self._closed = False
        self._server = create()
        self._server.protocol.set_writer(self, include_headers=False)

    def send(self, body: bytes) -> None:
        """Give it a message (JSON, without headers). One that is none of LSP is dropped."""
        if self._closed:
            return
        protocol = self._server.protocol
        try:
            message = json.loads(body, object_hook=protocol.structure_message)
            # An `exit` would end the process that we share.
            if getattr(message, "method", None) != "exit":
                protocol.handle_message(message)
        except (ValueError, AttributeError, RecursionError, JsonRpcException) as error:
            _log.info("config.unreadable", error=repr(error))

    def write(self, data: bytes) -> None:
        """What pygls calls with each message."""
        if not self._closed:
            self._on_message(data)

    def close(self) -> None:
        self._closed = True
        self._server.shutdown()
