"""A workspace of a team, and one signed-in person for every role."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from server import Api, Server
from websockets.exceptions import ConnectionClosed

# `admin` is one in person. `member`, `maintainer` and `owner` are that of the team that owns the
# workspace; `guest` followed a link to it, as an editor.
ROLES: tuple[str, ...] = (
    "anonymous",
    "guest",
    "viewer",
    "editor",
    "terminal",
    "member",
    "maintainer",
    "owner",
    "ex-member",
    "other-team",
    "admin",
)


class People:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.workspace = ""
        self.team = ""
        self.by_role: dict[str, Api] = {}
        self.ids: dict[str, str] = {}

    def __getitem__(self, role: str) -> Api:
        return self.by_role[role]

    @property
    def root(self) -> str:
        return f"/api/v1/workspaces/{self.workspace}"

    def nobody(self) -> Api:
        """A browser that has never been here."""
        return Api(self.server.url, headers={"Origin": self.server.url})

    async def link(self, **body: Any) -> str:
        """An invitation's token."""
        made = await self.server.api.post("/api/v1/invites", json=body)
        return made["url"].partition("#")[2]

    async def invite(self, role: str, workspace: str = "") -> str:
        return await self.link(workspace=workspace or self.workspace, role=role)

    async def follow(self, name: str, token: str) -> tuple[Api, str]:
        """A new person who followed a link; with their id."""
        browser = self.nobody()
        body = {"token": token, "name": name}
        accepted = await browser.post("/api/v1/invites/accept", json=body)
        return browser, accepted["user"]["id"]

    async def join(self, name: str, role: str, workspace: str = "") -> tuple[Api, str]:
        """A guest who followed a link to a workspace."""
        return await self.follow(name, await self.invite(role, workspace))

    async def account(self, name: str) -> tuple[Api, str]:
        """Somebody with an account, and nothing else."""
        return await self.follow(name, await self.link())

    async def add(self, role: str, made: tuple[Api, str]) -> None:
        self.by_role[role], self.ids[role] = made


@asynccontextmanager
async def people_of(server: Server) -> AsyncIterator[People]:
    people = People(server)
    people.by_role["anonymous"] = people.nobody()
    admin = people.by_role["admin"] = people.nobody()
    token = server.sign_in_url.partition("token=")[2]
    signed_in = await admin.post("/api/v1/session", json={"token": token, "name": "Ada"})
    people.ids["admin"] = signed_in["user"]["id"]

    await people.add("owner", await people.account("Owner"))
    owner = people["owner"]
    people.team = (await owner.post("/api/v1/teams", json={"name": "Crew"}))["id"]
    people.workspace = await owner.create("of people", team=people.team)
    for role in ("maintainer", "member"):
        joined = await people.follow(role.title(), await people.link(team=people.team, role=role))
        await people.add(role, joined)
    await people.add("guest", await people.join("Guest", "editor"))
    for role in ("viewer", "editor", "terminal", "ex-member"):
        await people.add(role, await people.account(role.title()))
        given = "terminal" if role == "ex-member" else role
        await people[role].post(
            "/api/v1/invites/accept", json={"token": await people.invite(given)}
        )
    await owner.delete(f"{people.root}/members/{people.ids['ex-member']}")
    await people.add("other-team", await people.account("Other"))
    await people["other-team"].post("/api/v1/teams", json={"name": "Others"})
    try:
        yield people
    finally:
        for api in people.by_role.values():
            await api.close()


async def first_word(api: Api, path: str, **options: Any) -> tuple[int | None, Any]:
    """Open a socket; returns its close code, or None and the first thing it said."""
    async with api.socket(path, **options) as socket:
        try:
            frame = await socket.recv()
        except ConnectionClosed:
            return socket.close_code, socket.close_reason
        return None, json.loads(frame) if isinstance(frame, str) else frame
