"""Who takes part in a random program: clients that type tokens, never one inside another."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from local import QUICK, WORKSPACE, Collab, Local, LocalWire
from peer import WAIT_SECONDS

from cloudide.channel import Channel
from cloudide.collab.room import Room
from cloudide.errors import CloudIDEError
from cloudide.identity.permissions import Grant, Person, Role

YJS = Path(__file__).parent.parent / "yjs"
TOKEN = re.compile(r"\[[^\[\]]*\]")


class Client(Protocol):
    """`at`, from 0 to 1, is a place between tokens."""

    @property
    def connected(self) -> bool: ...

    async def connect(self) -> None: ...

    async def disconnect(self) -> None: ...

    async def type(self, at: float, token: str) -> None: ...

    async def erase(self, at: float, count: int) -> list[str]:
        """Delete up to `count` tokens in a row; returns them."""
        ...

    async def read(self) -> str: ...

    async def until_it_reads(self, room: Room) -> None:
        """Until it has the room's text, whatever that is by then."""
        ...


def places(text: str) -> list[int]:
    return [*(match.start() for match in TOKEN.finditer(text)), len(text)]


class Typist(Local):
    """One of ours, or a plain y-websocket client (`extended=False`) with a pycrdt document."""

    @property
    def connected(self) -> bool:
        return self.socket is not None

    async def disconnect(self) -> None:
        await self.close()

    async def type(self, at: float, token: str) -> None:
        text = str(self)
        between = places(text)
        await self.insert(between[int(at * len(between))], token)

    async def erase(self, at: float, count: int) -> list[str]:
        text = str(self)
        between = places(text)
        first = int(at * len(between))
        start, end = between[first], between[min(first + count, len(between) - 1)]
        erased = text[start:end]
        if erased:
            offset = len(text[:start].encode())
            del self.text[offset : offset + len(erased.encode())]
            await self.flush()
        return TOKEN.findall(erased)

    async def read(self) -> str:
        return str(self)

    async def until_it_reads(self, room: Room) -> None:
        await self.until(lambda: str(self) == str(room.text) or not self.connected)


class YjsProcess:
    """A Node process with a Yjs document; its frames go to a room in this process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._asking = asyncio.Lock()
        self._client: Yjs | None = None

    async def ask(self, what: str, **values: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        async with asyncio.timeout(WAIT_SECONDS), self._asking:
            stdin.write(json.dumps({"do": what, **values}).encode() + b"\n")
            while True:
                message = json.loads(await stdout.readline())
                if message["event"] == "done":
                    return message
                if self._client is not None:
                    await self._client.send(base64.b64decode(message["data"]))

    def client(self, collab: Collab, path: str, person: Person) -> Yjs:
        self._client = Yjs(self, collab, path, person)
        return self._client


class Yjs:
    """The Yjs process as a client of a room."""

    def __init__(self, process: YjsProcess, collab: Collab, path: str, person: Person) -> None:
        self.reading = asyncio.Event()
        self.reading.set()
        self.connected = False
        self._process = process
        self._collab = collab
        self._path = path
        self._grant = Grant(person, WORKSPACE, Role.EDITOR)
        self._changed = asyncio.Condition()
        self._conversing: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        wire = LocalWire(self)  # type: ignore[arg-type]
        self._channel = wire.channel = Channel(wire, QUICK.collab_queue)
        self._connection = await self._collab.rooms.join(
            self._grant, self._path, self._channel, extended=False
        )
        self.connected = True
        self._conversing = asyncio.create_task(self._converse(wire))
        await self._process.ask("open")

    async def disconnect(self) -> None:
        if self._conversing is not None:
            self._channel.close()
            await self._conversing

    async def type(self, at: float, token: str) -> None:
        await self._process.ask("type", at=at, token=token)

    async def erase(self, at: float, count: int) -> list[str]:
        return TOKEN.findall((await self._process.ask("erase", at=at, count=count))["erased"])

    async def read(self) -> str:
        return (await self._process.ask("read"))["text"]

    async def until_it_reads(self, room: Room) -> None:
        async with asyncio.timeout(WAIT_SECONDS), self._changed:
            while self.connected and await self.read() != str(room.text):
                await self._changed.wait()

    async def send(self, frame: bytes) -> None:
        if not self.connected or self._channel.closing:
            return
        if handling := self._connection.receive(frame):
            await handling

    async def arrived(self, frame: bytes) -> None:
        await self._process.ask("frame", data=base64.b64encode(frame).decode())
        async with self._changed:
            self._changed.notify_all()

    async def _converse(self, wire: LocalWire) -> None:
        await wire.run()
        self.connected = False
        self._connection.leave()
        await self._process.ask("shut")
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def yjs_process() -> AsyncIterator[YjsProcess]:
    assert (YJS / "node_modules").is_dir(), "Run `make test`: it installs the npm packages."
    node = shutil.which("node")
    assert node is not None, "Node.js is not installed; `make test` sees to that."
    process = await asyncio.create_subprocess_exec(
        *(node, str(YJS / "bridge.mjs")),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=16 * 1024 * 1024,
    )
    try:
        yield YjsProcess(process)
    finally:
        process.terminate()
        await process.wait()


async def try_to_connect(client: Client) -> bool:
    """Whether it was let in; a server that is just going down lets nobody in."""
    try:
        await client.connect()
    except CloudIDEError:
        return False
    return True
