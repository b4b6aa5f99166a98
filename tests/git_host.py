"""A Git host with sign-in: git http-backend (git-http-backend(1)) behind a small server of ours."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import uvicorn
from server import Api
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

CREDENTIALS = "/api/v1/git-credentials"
IDENTITY = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
# Where nobody answers who wrote what is committed, for which the hook waits ten seconds.
UNASKED = ("-c", "core.hooksPath=/dev/null")


async def git(*arguments: str, cwd: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        "git", *arguments, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, error = await process.communicate()
    assert process.returncode == 0, (arguments, error.decode())
    return output.decode().strip()


class GitHost:
    """Repositories `/<name>.git`; those not in `public` want one of `people` (name → token)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.people: dict[str, str] = {}
        self.public: set[str] = set()
        self.asked: list[tuple[str, str, str]] = []  # user, method, target
        self.moved: dict[str, str] = {}  # path → where it says it is
        self.host = ""
        self.app = Starlette(routes=[Route("/{path:path}", self._serve, methods=["GET", "POST"])])

    async def add(
        self, name: str, files: Mapping[str, str] | None = None, *, public: bool = False
    ) -> str:
        """A repository with one commit on `main`; returns its address."""
        bare, work = self.folder / f"{name}.git", self.folder / f"{name}.work"
        await git("init", "--quiet", "--bare", "--initial-branch=main", str(bare))
        await git("config", "http.receivepack", "true", cwd=bare)
        await git("clone", "--quiet", str(bare), str(work))
        for path, text in (files or {"README": "hello\n"}).items():
            (work / path).write_text(text)
        await git("add", ".", cwd=work)
        await git(*IDENTITY, "commit", "--quiet", "--message", "first", cwd=work)
        await git("push", "--quiet", "origin", "HEAD:main", cwd=work)
        if public:
            self.public.add(name)
        return f"http://{self.host}/{name}.git"

    async def head(self, name: str, ref: str = "main") -> str:
        return await git("rev-parse", ref, cwd=self.folder / f"{name}.git")

    async def log(self, name: str, format: str = "%s", ref: str = "main") -> str:
        return await git("log", f"--format={format}", ref, cwd=self.folder / f"{name}.git")

    def _user(self, request: Request) -> str:
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return ""
        name, _, token = base64.b64decode(encoded).decode().partition(":")
        return name if self.people.get(name) == token else ""

    async def _serve(self, request: Request) -> Response:
        user, path = self._user(request), request.url.path
        self.asked.append((user, request.method, path))
        name = path.lstrip("/").partition("/")[0]
        if name in self.moved:
            query = f"?{request.url.query}" if request.url.query else ""
            there = self.moved[name] + path[len(name) + 1 :] + query
            return Response(status_code=301, headers={"Location": there})
        pushes = "git-receive-pack" in str(request.url)
        if not user and (pushes or name.removesuffix(".git") not in self.public):
            return PlainTextResponse("Who are you?", 401, {"WWW-Authenticate": 'Basic realm="git"'})
        return await self._backend(request, user)

    async def _backend(self, request: Request, user: str) -> Response:
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": request.url.path,
            "QUERY_STRING": request.url.query,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": request.headers.get("git-protocol", ""),
            "REMOTE_USER": user,
            "REMOTE_ADDR": "127.0.0.1",
        }
        if length := request.headers.get("content-length"):
            environment["CONTENT_LENGTH"] = length
        process = await asyncio.create_subprocess_exec(
            *("git", "http-backend"),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        async for chunk in request.stream():
            process.stdin.write(chunk)
            with suppress(ConnectionError):  # it reads no more than it needs
                await process.stdin.drain()
        process.stdin.close()
        head = (await process.stdout.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.split(": ", 1) for line in head.split("\r\n") if line)
        status = int(headers.pop("Status", "200").split()[0])
        stdout = process.stdout

        async def body() -> AsyncIterator[bytes]:
            while data := await stdout.read(65536):
                yield data
            await process.wait()

        return StreamingResponse(body(), status, headers)


@asynccontextmanager
async def git_host(folder: Path, address: str = "127.0.0.1") -> AsyncIterator[GitHost]:
    host = GitHost(folder)
    listening = socket.create_server((address, 0))
    host.host = f"{address}:{listening.getsockname()[1]}"
    config = uvicorn.Config(host.app, log_level="warning", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield host
    finally:
        server.should_exit = True
        await serving


async def credential_for(api: Api, host: GitHost, username: str) -> str:
    """Give somebody a token of the host; returns it."""
    token = host.people[username] = f"token-{secrets.token_hex(8)}"
    body = {"address": f"http://{host.host}", "username": username, "secret": token}
    assert token not in str(await api.post(CREDENTIALS, json=body))
    return token
