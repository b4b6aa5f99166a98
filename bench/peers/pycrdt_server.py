"""A pycrdt-websocket server on uvicorn; with DATABASE, documents are kept in that SQLite file."""

# Installed for the benchmarks alone.
# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import os
from contextlib import suppress

import uvicorn
from pycrdt.store import SQLiteYStore, YDocNotFound
from pycrdt.websocket import ASGIServer, WebsocketServer, YRoom

DATABASE = os.environ.get("DATABASE")


class Store(SQLiteYStore):
    db_path = DATABASE or ""


class Documents(WebsocketServer):
    """As its documentation has it: a room with a store, told what that has before it is served."""

    async def get_room(self, name: str) -> YRoom:
        if DATABASE and name not in self.rooms:
            store = Store(name)
            room = self.rooms[name] = YRoom(ready=False, ystore=store)
            await self.start_room(room)
            await store.started.wait()
            with suppress(YDocNotFound):
                await store.apply_updates(room.ydoc)
            room.ready = True
        return await super().get_room(name)


async def main() -> None:
    if DATABASE:
        store = Store("first")  # two stores that make the tables at once would both fail
        async with store:
            assert store.db_initialized is not None
            await store.db_initialized.wait()
    async with Documents() as documents:
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
