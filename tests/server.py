"""A real server in a process of its own, and clients for it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import connect

ADMIN_TOKEN = "test-admin-token"
START_SECONDS = 60.0
WAIT_SECONDS = 60.0


class Server:
    """`cloudide serve`; it may be killed and started again on the same data and address."""

    def __init__(self, data_dir: Path, **settings: object) -> None:
        self.data_dir = data_dir
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.url = f"http://localhost:{self.port}"
        self.sign_in_url = ""
        self.log = data_dir.parent / f"{data_dir.name}.log"
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.api = Api(self.url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        environment = {
            **os.environ,
            "CLOUDIDE_ADMIN_TOKEN": ADMIN_TOKEN,
            "CLOUDIDE_LISTEN": f"127.0.0.1:{self.port}",
            "CLOUDIDE_PUBLIC_URL": self.url,
            "CLOUDIDE_DATA_DIR": str(self.data_dir),
            "CLOUDIDE_MESSAGES_PER_SECOND": "0",
            "PYTHONWARNINGS": "default",
            **{f"CLOUDIDE_{name.upper()}": str(value) for name, value in self._settings.items()},
        }
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cloudide", "serve"),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        async with asyncio.timeout(START_SECONDS):
            while line := (await self._process.stdout.readline()).decode():
                if "/signin#" in line:
                    self.sign_in_url = line.rpartition(" ")[2].strip()
                    break
            else:
                raise RuntimeError(f"The server did not start:\n{self.log.read_text()}")
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def _read(self, stdout: asyncio.StreamReader) -> None:
        with self.log.open("ab") as log:
            while line := await stdout.readline():
                log.write(line)

    async def kill(self) -> None:
        """kill -9: nothing is said, nothing is written."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)
            await self._process.wait()
        if self._reading is not None:
            await self._reading

    async def close(self) -> None:
        """Delete every workspace and image, so that nothing is left in the engine, and stop."""
        if self._process is None or self._process.returncode is not None:
            await self.start()
        for workspace in (await self.api.get("/api/v1/workspaces"))["workspaces"]:
            await self.api.remove(workspace["id"])
        for image in (await self.api.get("/api/v1/images"))["images"]:
            if image.get("kind", "stock") != "stock":
                await self.api.delete(f"/api/v1/images/{image['id']}")
        await self.stop()
        await self.api.close()


class Api:
    """The REST interface; `get`, `post` … return decoded JSON and raise on an error status."""

    def __init__(self, url: str, **options: Any) -> None:
        # Warm connections would outlive a killed server.
        limits = httpx.Limits(max_keepalive_connections=0)
        self.http = httpx.AsyncClient(base_url=url, timeout=60, limits=limits, **options)

    async def close(self) -> None:
        await self.http.aclose()

    async def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return await self.http.request(method, path, **options)

    async def get(self, path: str, **options: Any) -> Any:
        return await self._json("GET", path, **options)

    async def post(self, path: str, **options: Any) -> Any:
        return await self._json("POST", path, **options)

    async def put(self, path: str, **options: Any) -> Any:
        return await self._json("PUT", path, **options)

    async def delete(self, path: str, **options: Any) -> Any:
        return await self._json("DELETE", path, **options)

    async def _json(self, method: str, path: str, **options: Any) -> Any:
        response = await self.http.request(method, path, **options)
        if response.is_error:
            raise AssertionError(f"{method} {path}: {response.status_code} {response.text}")
        return response.json() if response.content else None

    # ── workspaces ──────────────────────────────────────────────────────────────────────────────

    async def create(self, name: str = "test", image: str = "base", **more: Any) -> str:
        """Create a workspace and wait until it runs; returns its id."""
        body = {"name": name, "image": image, **more}
        workspace = (await self.post("/api/v1/workspaces", json=body))["id"]
        await self.until(workspace, "running")
        return workspace

    async def until(self, workspace: str, state: str) -> dict[str, Any]:
        """Wait until a workspace is in `state`."""
        async with asyncio.timeout(WAIT_SECONDS), aclosing(self.events(workspace)) as events:
            async for event, body in events:
                if event == "state" and body["workspace"]["state"] == state:
                    return body["workspace"]
        raise AssertionError(f"The events ended before the workspace was {state}.")

    async def remove(self, workspace: str) -> None:
        """Delete a workspace and wait until nothing of it is left."""
        async with asyncio.timeout(WAIT_SECONDS), aclosing(self.events(workspace)) as events:
            await anext(events)
            await self.delete(f"/api/v1/workspaces/{workspace}")
            async for event, _ in events:
                if event == "gone":
                    return

    async def events(self, workspace: str) -> AsyncGenerator[tuple[str, Any]]:
        """The server-sent events of a workspace: name and decoded data."""
        path = f"/api/v1/workspaces/{workspace}/events"
        name = ""
        async with self.http.stream("GET", path) as response:
            assert response.status_code == 200, await response.aread()
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))

    async def read(self, workspace: str, path: str) -> bytes:
        response = await self.http.get(f"/api/v1/workspaces/{workspace}/files/{path}")
        assert response.status_code == 200, response.text
        return response.content

    async def write(self, workspace: str, path: str, content: bytes | str) -> str:
        body = content.encode() if isinstance(content, str) else content
        return (await self.put(f"/api/v1/workspaces/{workspace}/files/{path}", content=body))[
            "hash"
        ]

    async def run(self, workspace: str, *command: str) -> tuple[dict[str, Any], str]:
        """Run a command in a terminal of the workspace; returns its exit and its output."""
        terminals = f"/api/v1/workspaces/{workspace}/terminals"
        id = (await self.post(terminals, json={"command": list(command)}))["id"]
        async with asyncio.timeout(WAIT_SECONDS), self.socket(f"{terminals}/{id}") as socket:
            output = bytearray()
            while True:
                frame = await socket.recv()
                if isinstance(frame, bytes):
                    output += frame
                elif (message := json.loads(frame))["type"] == "exit":
                    break
        await self.delete(f"{terminals}/{id}")
        del message["type"]
        return message, output.decode()

    def socket(self, path: str, **options: Any) -> connect:
        """A websocket, authenticated as this client is."""
        headers = {
            name: self.http.headers[name]
            for name in ("Authorization", "Origin")
            if name in self.http.headers
        }
        if self.http.cookies:
            headers["Cookie"] = "; ".join(f"{k}={v}" for k, v in self.http.cookies.items())
        url = str(self.http.base_url).rstrip("/").replace("http", "ws", 1) + path
        # Above a number of messages that nobody has read yet, this library does not hear the
        # answer to its close either, and waits ten seconds for it.
        options.setdefault("max_queue", None)
        return connect(url, additional_headers=headers, compression=None, **options)


@asynccontextmanager
async def serving(data_dir: Path, **settings: object) -> AsyncIterator[Server]:
    server = Server(data_dir, **settings)
    await server.start()
    try:
        yield server
    finally:
        await server.close()
