"""Commits of what several people typed: who made them, and who is named besides."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from peer import Peer
from server import Api

Join = Callable[[str, str, str], Awaitable[Api]]
FORMAT = "--format=%an <%ae>%n%(trailers:key=Co-authored-by,valueonly,only)"


class Together:
    """Ada's workspace with a repository, and Bo and Cy in it."""

    def __init__(self, workspace: str, people: dict[str, Api]) -> None:
        self.workspace = workspace
        self.people = people

    @property
    def ada(self) -> Api:
        return self.people["Ada"]

    async def run(self, line: str, person: str = "Ada") -> str:
        exit, output = await self.people[person].run(self.workspace, "sh", "-c", line)
        assert exit == {"code": 0}, output
        return output.replace("\r\n", "\n").strip()

    async def type(self, person: str, path: str, text: str, at: int | None = None) -> None:
        """Type, until it is in the file."""
        api = self.people[person]
        address = (
            f"{str(api.http.base_url).rstrip('/')}/api/v1/workspaces/{self.workspace}/collab/{path}"
        )
        headers = {
            "Origin": api.http.headers["Origin"],
            "Cookie": "; ".join(f"{name}={value}" for name, value in api.http.cookies.items()),
        }
        async with Peer(address, additional_headers=headers) as peer:
            await peer.saved()
            await peer.insert(len(str(peer)) if at is None else at, text)
            await peer.saved()
            same = f"printf %s '{peer}' | cmp --silent - {path}"
        await self.run(f"until {same}; do sleep 0.02; done")

    async def commit(self, person: str, message: str, **more: object) -> str:
        body = {"message": message, **more}
        address = f"/api/v1/workspaces/{self.workspace}/git/commits"
        return (await self.people[person].post(address, json=body))["message"]

    async def shown(self, person: str) -> list[str]:
        address = f"/api/v1/workspaces/{self.workspace}/git/co-authors"
        found = await self.people[person].get(address)
        return [each["name"] for each in found["co_authors"]]

    async def signed(self) -> list[str]:
        """Author, and then the co-authors, of the last commit."""
        return (await self.run(f"git --no-pager log -1 '{FORMAT}'")).splitlines()

    def address(self, name: str, ids: dict[str, str]) -> str:
        return f"{name} <{ids[name]}+{name}@users.noreply.localhost>"


@pytest.fixture(scope="module")
async def ids() -> dict[str, str]:
    return {}


@pytest.fixture
async def together(ada: Api, join: Join, ids: dict[str, str]) -> AsyncIterator[Together]:
    workspace = await ada.create("together")
    people = {
        "Ada": ada,
        "Bo": await join("Bo", "terminal", workspace),
        "Cy": await join("Cy", "terminal", workspace),
    }
    for name, api in people.items():
        ids[name] = (await api.get("/api/v1/account"))["id"]
    site = Together(workspace, people)
    await site.run(
        "git init --quiet && printf 'one\\n' > a && printf 'two\\n' > b && git add . "
        "&& git -c user.name=X -c user.email=x@y.z commit --quiet --message first"
    )
    yield site
    await ada.remove(workspace)


async def test_those_whose_edits_are_staged(together: Together, ids: dict[str, str]) -> None:
    ada, bo, cy = (together.address(name, ids) for name in ("Ada", "Bo", "Cy"))
    # From the IDE: the committer is the author, who typed it the co-author, and what is not staged
    # counts for nobody.
    await together.type("Bo", "a", "from bo\n")
    await together.type("Cy", "b", "from cy\n")
    await together.run("git add a")
    assert await together.shown("Ada") == ["Bo"]
    assert await together.shown("Bo") == []
    await together.commit("Ada", "second")
    assert await together.signed() == [ada, bo]

    # In a shell: who types there is the author. Cy corrects a word in Bo's line: Bo's part of it is
    # in the former commit already.
    await together.type("Cy", "a", "me, ", at=len("one\nfrom "))
    await together.run("git commit --quiet --all --message third", "Bo")
    assert await together.signed() == [bo, cy]
    await together.run("git commit --quiet --amend --no-edit", "Bo")
    assert await together.signed() == [bo, cy]
    # Amending with more of somebody else's; the author stays.
    await together.type("Ada", "b", "from ada\n")
    await together.run("git add b")
    await together.commit("Cy", "", amend=True)
    assert await together.signed() == [bo, cy, ada]

    # What nobody typed here is nobody's, and what was typed and staged stays whose it was.
    await together.run("sed -i s/one/1/ a && git add a")
    await together.commit("Ada", "by a program")
    assert await together.signed() == [ada]
    await together.type("Bo", "b", "staged\n")
    await together.run("git add b")
    await together.type("Cy", "b", "later\n")
    assert await together.shown("Ada") == ["Bo"]
    await together.commit("Ada", "what was staged")
    assert await together.signed() == [ada, bo]


async def test_the_repository_s_own_hooks_and_identities(
    together: Together, ids: dict[str, str]
) -> None:
    bo = together.address("Bo", ids)
    await together.type("Bo", "a", "more\n")
    hook = "printf '#!/bin/sh\\necho theirs >> \"$1\"\\n' > %s; chmod +x %s"
    own = ".git/hooks/prepare-commit-msg"
    await together.run(hook % (own, own))
    message = await together.commit("Ada", "x") if await together.run("git add a") == "" else ""
    assert message == f"x\ntheirs\n\nCo-authored-by: {bo}"
    # As husky does: a folder of the repository's configuration.
    await together.run(
        "mkdir .husky && printf '#!/bin/sh\\necho no >&2; exit 1\\n' > .husky/pre-commit "
        "&& chmod +x .husky/pre-commit && git config core.hooksPath .husky"
    )
    await together.type("Bo", "a", "and more\n")
    await together.run("git add a")
    address = f"/api/v1/workspaces/{together.workspace}/git/commits"
    refused = await together.ada.request("POST", address, json={"message": "y"})
    assert (refused.status_code, refused.json()["detail"]) == (409, "Git said: no")
    await together.run("git config --unset core.hooksPath; rm .git/hooks/*")

    # The owner's own configuration counts for them, and for nobody else.
    await together.run(
        "git config --global user.name Countess && git config --global user.email ada@example.org"
    )
    await together.run("git commit --quiet --message z")
    assert await together.signed() == ["Countess <ada@example.org>", bo]
    await together.run("git commit --quiet --allow-empty --message w", "Cy")
    assert await together.signed() == [together.address("Cy", ids)]
    # An address that somebody has set for their commits is named.
    profile = {"email": "bo@example.org", "dotfiles": ""}
    signed = await together.people["Bo"].put("/api/v1/git-profile", json=profile)
    assert signed["signed"] == "Bo <bo@example.org>"
    await together.type("Bo", "a", "again\n")
    await together.run("git commit --quiet --all --message v", "Cy")
    assert (await together.signed())[1:] == ["Bo <bo@example.org>"]
    # A message that nobody has written is none, whoever is named in it.
    await together.type("Bo", "a", "unwritten\n")
    status = "GIT_EDITOR=true git commit --all; git status --porcelain --untracked-files=no"
    assert (await together.run(status)).splitlines()[-1].strip() == "M a"
