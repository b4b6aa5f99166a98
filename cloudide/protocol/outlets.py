"""Outlets: loopback ports of the container whose connections lead to the server.

The agent dials the server and never the other way round, so a connection that a program of the
container makes is fetched: the server asks for the next one (`AcceptOutlet`), and the reply comes
when there is one, with its stream. So it is the server that says how many there may be, and an
outlet ends with the link, or when the server closes it.

    server → agent   open_outlet              result: its id and port
    server → agent   accept_outlet {stream}   answered when somebody has connected
    server → agent   close_outlet             connections under way end too
"""

from __future__ import annotations

import msgspec

OUTLETS_LIMIT = 16  # open at one time
BACKLOG = 8  # connections that wait to be accepted


class OpenOutlet(msgspec.Struct, frozen=True, tag_field="type", tag="outlet.open"):
    """Listen on a free port of 127.0.0.1."""


class Outlet(msgspec.Struct, frozen=True):
    id: str
    port: int


class AcceptOutlet(msgspec.Struct, frozen=True, tag_field="type", tag="outlet.accept"):
    """Wait for the next connection; its bytes go over `stream`. `gone` when the outlet closes."""

    stream: str
    outlet: str


class CloseOutlet(msgspec.Struct, frozen=True, tag_field="type", tag="outlet.close"):
    outlet: str
