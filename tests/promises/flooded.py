"""A process that looks at endless terminals as xterm.js does: it draws, and says so.

Arguments: the Authorization header, then the sockets' URLs. A line on standard output says that
all are shown; it ends with the last of them.
"""

from __future__ import annotations

import asyncio
import json
import sys

from websockets.asyncio.client import connect

ACK = 128 * 1024  # bytes


async def look(url: str, authorization: str, shown: asyncio.Semaphore) -> None:
    headers = {"Authorization": authorization}
    async with connect(url, additional_headers=headers, compression=None) as socket:
        number = drawn = told = 0
        seen = False
        async for frame in socket:
            if isinstance(frame, str):
                message = json.loads(frame)
                if message["type"] == "replay":
                    number, drawn, told = message["number"], 0, 0
                continue
            if not seen:
                seen = True
                shown.release()
            drawn += len(frame)
            if drawn - told >= ACK:
                told = drawn
                await socket.send(json.dumps({"type": "ack", "number": number, "bytes": drawn}))


async def main(authorization: str, *urls: str) -> None:
    shown = asyncio.Semaphore(0)
    async with asyncio.TaskGroup() as viewers:
        for url in urls:
            viewers.create_task(look(url, authorization, shown))
        for _ in urls:
            await shown.acquire()
        print("shown", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
