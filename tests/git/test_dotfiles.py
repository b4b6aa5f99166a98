"""Dotfiles in a new workspace of their owner's, with nobody's credentials at hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from git_host import GitHost, credential_for
from server import Api

INSTALL = 'echo installing; env > "$HOME/seen"; cp rc "$HOME/.rc"\n'


async def until_there(api: Api, workspace: str, path: str) -> str:
    line = f"until [ -e ~/{path} ]; do sleep 0.05; done; cat ~/{path}"
    exit, output = await api.run(workspace, "sh", "-c", line)
    assert exit == {"code": 0}
    return output


async def notice(api: Api, body: dict[str, Any]) -> tuple[str, str]:
    """Make a workspace; returns it, and what its owner is told."""
    async with asyncio.timeout(60), api.socket("/api/v1/events") as socket:
        workspace = (await api.post("/api/v1/workspaces", json=body))["id"]
        await socket.send(json.dumps({"type": "watch", "workspace": workspace}))
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "notice":
                assert message["workspace"] == workspace
                return workspace, message["message"]


async def test_dotfiles_of_the_owner(ada: Api, host: GitHost) -> None:
    token = await credential_for(ada, host, "ada-dots")
    url = await host.add("dots", {"install.sh": INSTALL, "rc": "mine\n"})
    await ada.put("/api/v1/git-profile", json={"email": "", "dotfiles": url})
    try:
        workspace = await ada.create("dotted")
        assert (await until_there(ada, workspace, ".rc")).strip() == "mine"
        seen = await until_there(ada, workspace, "seen")
        assert token not in seen
        assert "127.0.0.1" not in seen
        assert await until_there(ada, workspace, ".dotfiles.log") == "installing\r\n"
        await ada.put("/api/v1/git-profile", json={"email": "", "dotfiles": f"{url}-not-there"})
        workspace, said = await notice(ada, {"name": "undotted", "image": "base"})
        assert said.startswith("Your dotfiles were not set up. ")
        assert "has no repository" in said
        # Who was not there finds it later.
        assert "has no repository" in await until_there(ada, workspace, ".dotfiles.log")
    finally:
        await ada.put("/api/v1/git-profile", json={"email": "", "dotfiles": ""})
