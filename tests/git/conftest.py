from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from git_host import GitHost, git_host
from server import Api, Server, serving

Join = Callable[[str, str, str], Awaitable[Api]]


@pytest.fixture(scope="session")
async def host(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitHost]:
    """A Git host with sign-in, which only the server can reach."""
    async with git_host(tmp_path_factory.mktemp("host")) as host:
        yield host


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory, host: GitHost) -> AsyncIterator[Server]:
    """A server that may send credentials to that host."""
    data = tmp_path_factory.mktemp("server") / "data"
    async with serving(data, insecure_git_hosts=host.host) as server:
        yield server


@pytest.fixture(scope="session")
async def ada(server: Server) -> AsyncIterator[Api]:
    """Somebody in a browser, who may create workspaces."""
    api = Api(server.url, headers={"Origin": server.url})
    token = server.sign_in_url.partition("token=")[2]
    await api.post("/api/v1/session", json={"token": token, "name": "Ada"})
    yield api
    await api.close()


@pytest.fixture
async def newcomer(server: Server) -> AsyncIterator[Api]:
    """Somebody with an account that is new: no credential, nothing signed in elsewhere."""
    invite = await server.api.post("/api/v1/invites", json={})
    api = Api(server.url, headers={"Origin": server.url})
    token = invite["url"].partition("#")[2]
    await api.post("/api/v1/invites/accept", json={"token": token, "name": "Cleo"})
    yield api
    await api.close()


@pytest.fixture
async def join(server: Server) -> AsyncIterator[Join]:
    """`join(name, role, workspace)`: somebody who was invited there, in a browser."""
    made: list[Api] = []

    async def join(name: str, role: str, workspace: str) -> Api:
        body = {"workspace": workspace, "role": role}
        invite = await server.api.post("/api/v1/invites", json=body)
        api = Api(server.url, headers={"Origin": server.url})
        made.append(api)
        token = invite["url"].partition("#")[2]
        await api.post("/api/v1/invites/accept", json={"token": token, "name": name})
        return api

    yield join
    for api in made:
        await api.close()
