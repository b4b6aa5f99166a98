"""`git push` typed in a terminal: who is asked, what they see, and what comes of each answer.

A real agent, Git and host; Git reaches the host by itself, and is let in by the server alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from git_host import IDENTITY, GitHost, git_host
from linked import Linked, attach, linked, past, rest

from cloudide.errors import Conflict, NotFound
from cloudide.git import asking as asking_module
from cloudide.git.asking import Asking, Question, Reply
from cloudide.git.coauthors import CoAuthorship
from cloudide.git.credentials import Credentials
from cloudide.git.errands import Errands
from cloudide.git.profiles import Profiles
from cloudide.git.questions import Questions
from cloudide.git.remotes import Hosts
from cloudide.git.upstream import trust
from cloudide.identity.permissions import Person
from cloudide.identity.sealing import Sealing
from cloudide.protocol.agent import CreateTerminal
from cloudide.storage.database import Database
from cloudide.storage.tables import users

ADA, BO = Person("ada", "Ada", ""), Person("bo", "Bo", "")


class Nothing:
    async def rooms(self, workspace: str, paths: list[str]) -> dict[str, int]:
        return {}

    async def authors(self, room: int, before: bytes, after: bytes) -> set[str]:
        return set()


class Site:
    """Ada owns the workspace; Bo types in its terminals."""

    def __init__(
        self, host: GitHost, workspace: Linked, asking: Asking, credentials: Credentials
    ) -> None:
        self.host = host
        self.linked = workspace
        self.asking = asking
        self.credentials = credentials
        self.records: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()
        self.asked: asyncio.Queue[Question] = asyncio.Queue()
        self._terminals = 0
        asking.on_change = lambda question, asked: (
            self.asked.put_nowait(question) if asked else None
        )

    def _changed(self, question: Question, asked: bool) -> None:
        if asked:
            self.asked.put_nowait(question)

    async def recorded(self) -> tuple[str, str, str]:
        """What the audit log is told next: it is when the program in the terminal has ended."""
        async with asyncio.timeout(20):
            return await self.records.get()

    async def begin(self, line: str) -> asyncio.Task[tuple[str, int | None]]:
        """Type a line in a new terminal; the task gives what it printed, and its exit code."""
        self._terminals += 1
        id = f"t{self._terminals}"
        command = ["sh", "-c", f"HOME=/nowhere; {line}"]
        await self.linked.agent.create_terminal(CreateTerminal(id, 120, 30, command))
        stream = await attach(self.linked.agent, id)

        async def all() -> tuple[str, int | None]:
            seen = await past(stream)
            more, exit = await rest(stream)
            return (seen + more).decode(), exit.code

        return asyncio.create_task(all())

    async def run(self, line: str) -> str:
        output, code = await (await self.begin(line))
        assert code == 0, output
        return output.strip()

    def answer(self, question: Question, reply: Reply) -> None:
        self.asking.answer("one", question.to, question.id, reply)

    async def next(self) -> Question:
        async with asyncio.timeout(20):
            return await self.asked.get()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        database = Database(tmp_path / "cloudide.sqlite")
        stack.push_async_callback(database.close)
        await database.start()
        async with database.begin() as db:
            for person in (ADA, BO):
                row = {"id": person.id, "name": person.name, "color": "", "admin": False}
                await db.execute(users.insert().values({**row, "created_at": 0.0}))
        (tmp_path / "host").mkdir()
        host = await stack.enter_async_context(git_host(tmp_path / "host"))
        workspace = await stack.enter_async_context(linked(tmp_path))
        credentials = Credentials(database, Sealing.start(tmp_path))
        host.people |= {"ada-there": "ada-token", "bo-there": "bo-token"}
        await credentials.add("ada", f"http://{host.host}", "ada-there", "ada-token")
        records: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

        async def record(action: str, *, user: str, outcome: str, **_: object) -> None:
            records.put_nowait((action, user, outcome))

        hosts = Hosts(insecure=host.host)
        errands = Errands(workspace.agents, credentials, record, hosts, trust(""))
        asking = Asking(errands, lambda workspace: ADA)
        profiles = Profiles(database, "ide.example.org", _nobody)
        coauthors = CoAuthorship(Nothing(), profiles)
        await stack.enter_async_context(
            Questions(
                workspace.agents,
                coauthors,
                profiles,
                asking,
                lambda workspace, terminal: BO,
                lambda workspace: ADA,
                60.0,
            )
        )
        site = Site(host, workspace, asking, credentials)
        site.records = records
        yield site


async def _nobody(_: str) -> None:
    return None


async def clone(site: Site, name: str) -> str:
    """A repository that anybody may read, cloned without any question, and one commit ahead."""
    url = await site.host.add(name, public=True)
    await site.run(f"git clone --quiet {url} {name}")
    committing = f"git -C {name} {' '.join(IDENTITY)} commit --quiet --allow-empty -m two"
    await site.run(committing)
    return await site.run(f"git -C {name} rev-parse HEAD")


async def test_a_public_repository_is_reached_without_us(site: Site) -> None:
    await clone(site, "public")
    assert site.asked.empty()
    assert site.records.empty()
    assert {user for user, _, _ in site.host.asked} == {""}


async def test_a_guest_pushes_with_their_own_or_the_owner_s_click(site: Site) -> None:
    id = await clone(site, "shared")
    push = "git -C shared push --quiet origin main"
    # Bo has no credentials: nobody is asked but Bo, who may ask Ada.
    pushing = await site.begin(push)
    question = await site.next()
    assert (question.to, question.asker.id, question.username) == ("bo", "bo", "")
    assert (question.repository, question.service) == (
        f"{site.host.host}/shared",
        "git-receive-pack",
    )
    assert (question.branch, question.commit, question.owner) == ("main", id, "Ada")
    assert site.asking.pending("one", "ada") == []
    with pytest.raises(NotFound):  # it is not Ada's to answer
        site.asking.answer("one", "ada", question.id, Reply.ALLOW)
    with pytest.raises(Conflict, match="no Git credentials"):
        site.answer(question, Reply.ALLOW)
    site.answer(question, Reply.OWNER)
    question = await site.next()
    assert (question.to, question.asker.id, question.username) == ("ada", "bo", "ada-there")
    site.answer(question, Reply.DENY)
    output, code = await pushing
    assert code not in (0, None)
    assert "Ada did not allow it." in output
    assert await site.host.head("shared") != id
    assert site.records.empty()

    pushing = await site.begin(push)
    site.answer(await site.next(), Reply.OWNER)
    site.answer(await site.next(), Reply.ALLOW)
    output, code = await pushing
    assert code == 0, output
    assert "ada-token" not in output
    assert await site.host.head("shared") == id
    assert await site.recorded() == ("git.push", "ada", "done")
    assert await site.run("git -C shared rev-parse origin/main") == id

    # With credentials of one's own, one click is one push, and the next asks again.
    await site.credentials.add("bo", f"http://{site.host.host}", "bo-there", "bo-token")
    await site.run(f"git -C shared {' '.join(IDENTITY)} commit --quiet --allow-empty -m three")
    pushing = await site.begin(push)
    question = await site.next()
    assert (question.to, question.username) == ("bo", "bo-there")
    site.answer(question, Reply.ALLOW)
    assert (await pushing)[1] == 0
    assert await site.recorded() == ("git.push", "bo", "done")
    assert site.asked.empty()


async def test_a_push_of_more_than_was_shown_is_asked_again(site: Site) -> None:
    await clone(site, "shared")
    await site.credentials.add("bo", f"http://{site.host.host}", "bo-there", "bo-token")
    pushing = await site.begin("git -C shared push --quiet origin main main:other")
    site.answer(await site.next(), Reply.ALLOW)
    question = await site.next()
    assert sorted(each.ref for each in question.updates) == ["refs/heads/main", "refs/heads/other"]
    site.answer(question, Reply.DENY)
    output, code = await pushing
    assert code not in (0, None)
    assert "did not allow this push" in output
    assert await site.host.log("shared") == "first"


async def test_a_private_repository_and_no_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await site.host.add("closed")
    cloning = await site.begin(f"git clone --quiet {url} closed && cat closed/README")
    site.answer(await site.next(), Reply.OWNER)
    site.answer(await site.next(), Reply.ALLOW)
    output, code = await cloning
    assert code == 0, output
    assert output.strip().endswith("hello")
    assert site.linked.root.joinpath("closed/.git/config").read_text().count(url) == 1
    monkeypatch.setattr(asking_module, "PATIENCE", 0.2)
    output, code = await (await site.begin("git -C closed fetch"))
    assert code not in (0, None)
    assert "Bo did not answer within" in output
    # A password that is typed in the terminal is Git's own matter, as ever.
    monkeypatch.setattr(asking_module, "PATIENCE", 60.0)
    while not site.asked.empty():
        site.asked.get_nowait()
    fetching = await site.begin("GIT_ASKPASS=false GIT_TERMINAL_PROMPT=0 git -C closed fetch")
    site.answer(await site.next(), Reply.HERE)
    output, code = await fetching
    assert "could not read" in output or "terminal prompts disabled" in output
