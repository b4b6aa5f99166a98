"""Git in a workspace and a real host: credentials on the server's connection alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from git_host import IDENTITY, UNASKED, GitHost, git, git_host
from linked import Linked, linked

from cloudide.errors import CloudIDEError, Denied, Unavailable
from cloudide.git.credentials import Credentials
from cloudide.git.errand import FETCH, PUSH, Approve, Service, exactly
from cloudide.git.errands import Errands, Request
from cloudide.git.program import GitFailed, read
from cloudide.git.remotes import Hosts
from cloudide.git.upstream import trust
from cloudide.identity.permissions import Person
from cloudide.identity.sealing import Sealing
from cloudide.storage.database import Database
from cloudide.storage.tables import users

ADA = Person("ada", "Ada", "")
TOKEN = "ada-s3cret-t0ken"


class Site(SimpleNamespace):
    host: GitHost
    linked: Linked
    errands: Errands
    records: list[tuple[str, dict[str, Any]]]

    async def git(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        output = await read(self.linked.agent, arguments, environment=environment)
        return output.decode().strip()

    async def refused(
        self,
        error: type[CloudIDEError],
        words: str,
        url: str,
        *arguments: str,
        service: Service = FETCH,
        approve: Approve | None = None,
    ) -> None:
        """Git fails on this errand, and that is why."""

        async def attempt() -> None:
            async with self.on(url, service, approve) as environment:
                await self.git(*arguments, environment=environment)

        with pytest.raises(error, match=words):
            await attempt()

    @asynccontextmanager
    async def on(
        self, url: str, service: Service = FETCH, approve: Approve | None = None
    ) -> AsyncIterator[Mapping[str, str]]:
        found = await self.errands.fitting("ada", url)
        assert found is not None
        remote, credential = found
        request = Request(
            workspace="one",
            person=ADA,
            raw=url,
            remote=remote,
            service=service,
            action="git.test",
            approve=approve,
        )
        async with self.errands.environment(request, credential) as environment:
            yield environment


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    async with database.begin() as db:
        row = {"id": "ada", "name": "Ada", "color": "", "admin": False, "created_at": 0.0}
        await db.execute(users.insert().values(row))
    records: list[tuple[str, dict[str, Any]]] = []

    async def record(action: str, **rest: Any) -> None:
        records.append((action, rest))

    (tmp_path / "host").mkdir()
    async with git_host(tmp_path / "host") as host, linked(tmp_path) as workspace:
        host.people["ada"] = TOKEN
        credentials = Credentials(database, Sealing.start(tmp_path))
        await credentials.add("ada", f"http://{host.host}", "ada", TOKEN)
        hosts = Hosts(insecure=host.host)
        errands = Errands(workspace.agents, credentials, record, hosts, trust(""))
        yield Site(host=host, linked=workspace, errands=errands, records=records)
    await database.close()


async def commit(site: Site, text: str) -> str:
    (site.linked.root / "README").write_text(text)
    await site.git(*IDENTITY, *UNASKED, "commit", "--quiet", "--all", "--message", text)
    return await site.git("rev-parse", "HEAD")


async def test_a_private_repository_is_cloned_fetched_and_pushed(site: Site) -> None:
    url = await site.host.add("private")
    async with site.on(url) as environment:
        assert TOKEN not in str(environment)
        await site.git("clone", "--quiet", url, ".", environment=environment)
    assert (site.linked.root / "README").read_text() == "hello\n"
    assert await site.git("remote", "get-url", "origin") == url
    id = await commit(site, "two")
    async with site.on(url, PUSH, exactly({"refs/heads/main": id})) as environment:
        await site.git("push", "--quiet", "origin", "main", environment=environment)
    assert await site.host.head("private") == id
    assert await site.git("rev-parse", "origin/main") == id
    # Large enough that Git sends it in chunks, after having tried with nothing.
    (site.linked.root / "big").write_bytes(bytes(range(256)) * 16 * 1024)
    await site.git("add", "big")
    id = await commit(site, "three")
    async with site.on(url, PUSH, exactly({"refs/heads/main": id})) as environment:
        pushing = ("-c", "http.postBuffer=65536", "-c", "core.compression=0")
        await site.git(*pushing, "push", "--quiet", "origin", "main", environment=environment)
    assert await site.host.head("private") == id
    assert [each["outcome"] for _, each in site.records] == ["done"] * 3
    assert site.records[1][1]["detail"]["updates"][0].startswith("refs/heads/main ")
    assert TOKEN not in str(site.records)
    assert {user for user, _, _ in site.host.asked} == {"ada"}


async def test_a_push_does_what_was_confirmed_and_nothing_else(site: Site) -> None:
    url = await site.host.add("private")
    async with site.on(url) as environment:
        await site.git("clone", "--quiet", url, ".", environment=environment)
    before = await site.host.head("private")
    id = await commit(site, "two")
    for approve, refspecs in [
        (exactly({"refs/heads/main": before}), ["main"]),  # another commit
        (exactly({"refs/heads/other": id}), ["main"]),  # another branch
        (exactly({"refs/heads/main": id}), ["main", "main:refs/heads/more"]),  # one more
        (exactly({"refs/heads/main": id}), [":main"]),  # deletes it
        (exactly({"refs/heads/main": ""}), ["main"]),
        (None, ["main"]),
    ]:
        push = ("push", "origin", *refspecs)
        await site.refused(Denied, "push", url, *push, service=PUSH, approve=approve)
        assert (
            await git("for-each-ref", "--format=%(refname)", cwd=site.host.folder / "private.git")
            == "refs/heads/main"
        )
        assert await site.host.head("private") == before
        assert site.records[-1][1]["outcome"] == "403 You may not do this"


async def test_an_errand_is_for_one_service_and_one_repository_and_ends(site: Site) -> None:
    url = await site.host.add("private")
    await site.host.add("other")
    async with site.on(url) as environment:
        key = environment["GIT_CONFIG_KEY_0"]
        endpoint = key.removeprefix("url.").removesuffix(".insteadOf")
        assert await site.git("ls-remote", endpoint)
        for wrong in (f"{endpoint[:-1]}_", f"{endpoint}/../other.git", f"{endpoint}/x"):
            with pytest.raises(GitFailed, match="403"):
                await site.git("ls-remote", wrong)
    with pytest.raises(GitFailed):
        await site.git("ls-remote", endpoint)
    await site.git("init", "--quiet")
    await site.git(*IDENTITY, *UNASKED, "commit", "--quiet", "--allow-empty", "--message", "one")
    push = ("push", url, "HEAD:refs/heads/x")
    await site.refused(Denied, "Only git-upload-pack", url, *push)
    assert {path for _, _, path in site.host.asked} == {
        "/private.git/info/refs",
        "/private.git/git-upload-pack",
    }


async def test_what_a_host_says_is_told(site: Site) -> None:
    url = await site.host.add("private")
    site.host.people["ada"] = "changed"
    words = r"lets nobody in as ada .* It said: “Who are you\?”"
    await site.refused(Denied, words, url, "ls-remote", url)
    site.host.people["ada"] = TOKEN
    missing = f"http://{site.host.host}/missing"
    words = "has no repository missing"
    await site.refused(Unavailable, words, missing, "ls-remote", missing)


async def test_a_host_may_call_a_repository_otherwise_but_sends_us_nowhere_else(
    site: Site, tmp_path: Path
) -> None:
    await site.host.add("private")
    url = f"http://{site.host.host}/private"
    site.host.moved["private"] = "/private.git"
    async with site.on(url) as environment:
        assert "refs/heads/main" in await site.git("ls-remote", url, environment=environment)
    (tmp_path / "thief").mkdir()
    async with git_host(tmp_path / "thief") as thief:
        site.host.moved["private"] = f"http://{thief.host}/private.git"
        await site.refused(Unavailable, "has moved to", url, "ls-remote", url)
        assert thief.asked == []


async def test_credentials_go_to_no_private_address_and_over_no_plain_http(site: Site) -> None:
    url = await site.host.add("private")
    site.errands.hosts = Hosts()
    assert await site.errands.fitting("ada", url) is None
    port = site.host.host.rpartition(":")[2]
    await site.errands.credentials.add("ada", f"localhost:{port}", "ada", TOKEN)
    local = f"https://localhost:{port}/private.git"
    await site.refused(Denied, "not of the public internet", local, "ls-remote", local)
    # Where an administrator has named it, the certificate is still looked at.
    site.errands.hosts = Hosts(internal=f"localhost:{port}")
    await site.refused(Unavailable, "connection to localhost", local, "ls-remote", local)
    assert site.host.asked == []


async def test_an_errand_that_is_given_up_lets_go_of_everything(site: Site) -> None:
    url = await site.host.add("private")
    opened: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def fetch() -> None:
        async with site.on(url) as environment:
            opened.set_result(environment["GIT_CONFIG_KEY_0"])
            await asyncio.Event().wait()

    task = asyncio.create_task(fetch())
    key = await opened
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(GitFailed):
        await site.git("ls-remote", key.removeprefix("url.").removesuffix(".insteadOf"))
    assert site.records[-1][1]["outcome"] == "interrupted"
    assert site.host.asked == []
