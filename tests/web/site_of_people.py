"""A workspace and one signed-in person for every role."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from server import Api, Server
from websockets.exceptions import ConnectionClosed

ROLES: tuple[str, ...] = ("anonymous", "stranger", "viewer", "editor", "owner", "admin")


class People:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.workspace = ""
        self.by_role: dict[str, Api] = {"admin": server.api}
        self.ids: dict[str, str] = {}

    def __getitem__(self, role: str) -> Api:
        return self.by_role[role]

    @property
    def root(self) -> str:
        return f"/api/v1/workspaces/{self.workspace}"

    def nobody(self) -> Api:
        """A browser that has never been here."""
        return Api(self.server.url, headers={"Origin": self.server.url})

    async def invite(self, role: str, workspace: str = "") -> str:
        """An invitation's token."""
        body = {"workspace": workspace or self.workspace, "role": role}
        made = await self.server.api.post("/api/v1/invites", json=body)
        return made["url"].partition("#")[2]

    async def join(self, name: str, role: str, workspace: str = "") -> tuple[Api, str]:
        """A new person who followed an invitation."""
        guest = self.nobody()
        body = {"token": await self.invite(role, workspace), "name": name}
        accepted = await guest.post("/api/v1/invites/accept", json=body)
        return guest, accepted["user"]["id"]


@asynccontextmanager
async def people_of(server: Server) -> AsyncIterator[People]:
    people = People(server)
    people.by_role["anonymous"] = people.nobody()
    owner = people.by_role["owner"] = people.nobody()
    token = server.sign_in_url.partition("token=")[2]
    signed_in = await owner.post("/api/v1/session", json={"token": token, "name": "Ada"})
    people.ids["owner"] = signed_in["user"]["id"]
    people.workspace = await owner.create("of people")
    elsewhere = await server.api.create("elsewhere")
    for role in ("viewer", "editor"):
        people.by_role[role], people.ids[role] = await people.join(role.title(), role)
    stranger, people.ids["stranger"] = await people.join("Stranger", "editor", elsewhere)
    people.by_role["stranger"] = stranger
    try:
        yield people
    finally:
        for role, api in people.by_role.items():
            if role != "admin":
                await api.close()


async def first_word(api: Api, path: str, **options: Any) -> tuple[int | None, Any]:
    """Open a socket; returns its close code, or None and the first thing it said."""
    async with api.socket(path, **options) as socket:
        try:
            frame = await socket.recv()
        except ConnectionClosed:
            return socket.close_code, socket.close_reason
        return None, json.loads(frame) if isinstance(frame, str) else frame
