"""A pycrdt-websocket server on uvicorn, with its documents in memory."""

# Installed for the benchmarks alone.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import os

import uvicorn
from pycrdt.websocket import ASGIServer, WebsocketServer


async def main() -> None:
    async with WebsocketServer() as documents:
        config = uvicorn.Config(
            ASGIServer(documents),
            host=os.environ["HOST"],
            port=int(os.environ["PORT"]),
            loop="uvloop",
            ws_per_message_deflate=False,
            log_level="warning",
        )
        await uvicorn.Server(config).serve()


asyncio.run(main())
