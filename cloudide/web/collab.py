"""`WS /api/v1/workspaces/{id}/collab/{path}`: a client joins the room of a file."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.websockets import WebSocket

from cloudide.channel import Channel, Frame
from cloudide.errors import InvalidInput
from cloudide.identity.permissions import Grant
from cloudide.protocol.sync import SUBPROTOCOL
from cloudide.web.files import clean_path
from cloudide.web.services import services
from cloudide.web.sockets import Receive


async def join(
    websocket: WebSocket, channel: Channel
) -> tuple[Receive, Callable[[], Awaitable[None]]]:
    """The socket of one file; see `protocol/sync.py`."""
    grant: Grant = websocket.state.grant
    path = clean_path(websocket.path_params["path"])
    if not path:
        raise InvalidInput("Name a file.")
    connection = await services(websocket).rooms.join(
        grant,
        path,
        channel,
        extended=SUBPROTOCOL in websocket.scope.get("subprotocols", []),
        epoch=websocket.query_params.get("epoch", ""),
    )

    def receive(frame: Frame) -> Awaitable[None] | None:
        if isinstance(frame, str):
            raise InvalidInput("This socket takes binary frames.")
        return connection.receive(frame)

    async def leave() -> None:
        connection.leave()

    return receive, leave
