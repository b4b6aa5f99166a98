"""Who gets which secret, what is kept of it, and keys that change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from typer.testing import CliRunner

from cloudide.cli.main import cli
from cloudide.errors import CloudIDEError, Conflict, Denied, InvalidInput, NotFound
from cloudide.events.addresses import Addresses
from cloudide.events.webhooks import Webhooks
from cloudide.git.credentials import Credentials
from cloudide.identity.permissions import Grant, Person, Role
from cloudide.identity.sealing import Sealing, Unsealable, key_of
from cloudide.secrets.delivery import Delivery
from cloudide.secrets.names import parse_wishes
from cloudide.secrets.policy import Reader
from cloudide.secrets.store import Owner, Secret, Secrets
from cloudide.storage.database import Database
from cloudide.storage.tables import events, secret_versions, teams, users, workspaces

VALUE = "s3cr3t-value"


class Site:
    """Ada and Bob in two workspaces, of which `one` is the red team's."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.folder = folder
        self.database = database
        self.sealing = Sealing.start(folder)
        self.secrets = Secrets(database, self.sealing)
        self.recorded: list[tuple[str, dict[str, Any]]] = []
        self.hidden: list[str] = []

        async def record(action: str, **about: Any) -> None:
            self.recorded.append((action, about))

        self.delivery = Delivery(database, self.secrets, record, self.hidden.extend)

    async def fill(self) -> None:
        async with self.database.begin() as db:
            for id in ("ada", "bob"):
                row = {"id": id, "name": id, "color": "", "admin": False, "created_at": 0}
                await db.execute(insert(users).values(**row))
            await db.execute(insert(teams).values(id="red", name="Red", created_at=0))
            for id, team in (("one", "red"), ("two", None)):
                row = {"id": id, "name": id, "image": "base", "owner": "ada", "team": team}
                more = {"desired_state": "running", "generation": 1, "created_at": 0}
                await db.execute(insert(workspaces).values(**row, **more))

    async def create(
        self, owner: Owner, *readers: Reader, name: str = "TOKEN", value: str = VALUE
    ) -> Secret:
        return await self.secrets.create(owner, name, value, readers=readers, by="ada")

    async def ask(
        self, *wishes: str, user: str = "ada", workspace: str = "one", task: str = "deploy"
    ) -> dict[str, str]:
        grant = Grant(Person(user, user, ""), workspace, Role.EDITOR)
        kind = "task" if task else "terminal"
        given = await self.delivery.give(grant, wishes, kind, task)
        return {**given.environment, **{f"file {name}": v for name, v in given.files.items()}}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    site = Site(database, tmp_path)
    await site.fill()
    yield site
    await database.close()


ADA, ONE, RED = Owner(user="ada"), Owner(workspace="one"), Owner(team="red")
DEPLOY = Reader("one", ["deploy"])


async def test_nobody_is_a_reader_by_default(site: Site) -> None:
    await site.create(ONE)
    for task in ("deploy", ""):
        with pytest.raises(Denied, match="does not name"):
            await site.ask("TOKEN", task=task)
    with pytest.raises(Denied, match="There is no secret"):
        await site.ask("OTHER")
    assert site.recorded == []
    assert site.hidden == []


async def test_only_what_is_named_reads(site: Site) -> None:
    secret = await site.create(ONE, Reader("one", ["deploy"]))
    assert await site.ask("TOKEN") == {"TOKEN": VALUE}
    for refused in ({"task": "test"}, {"task": ""}, {"workspace": "two"}):
        with pytest.raises(Denied):
            await site.ask("TOKEN", **refused)
    await site.secrets.change(secret.id, readers=[Reader("one", [], programs=True)])
    assert await site.ask("TOKEN", task="") == {"TOKEN": VALUE}
    with pytest.raises(Denied):
        await site.ask("TOKEN")
    await site.secrets.change(secret.id, readers=[Reader("one", ["*"])])
    assert await site.ask("file:TOKEN", task="anything") == {"file TOKEN": VALUE}


async def test_a_persons_own_goes_only_to_what_they_start(site: Site) -> None:
    await site.create(ADA, DEPLOY)
    assert await site.ask("TOKEN") == {"TOKEN": VALUE}
    with pytest.raises(Denied):
        await site.ask("TOKEN", user="bob")


async def test_a_teams_goes_to_workspaces_of_the_team(site: Site) -> None:
    await site.create(RED, DEPLOY, Reader("two", ["deploy"]))
    assert await site.ask("TOKEN", user="bob") == {"TOKEN": VALUE}
    with pytest.raises(Denied):
        await site.ask("TOKEN", workspace="two")  # it is named, but not the team's


async def test_ones_own_comes_before_the_workspaces_and_the_teams(site: Site) -> None:
    await site.create(RED, DEPLOY, value="of the team")
    assert await site.ask("TOKEN") == {"TOKEN": "of the team"}
    await site.create(ONE, DEPLOY, value="of the workspace")
    assert await site.ask("TOKEN") == {"TOKEN": "of the workspace"}
    own = await site.create(ADA, value="of Ada")
    assert await site.ask("TOKEN") == {"TOKEN": "of the workspace"}  # hers names nobody
    await site.secrets.change(own.id, readers=[DEPLOY])
    assert await site.ask("TOKEN") == {"TOKEN": "of Ada"}


async def test_versions(site: Site) -> None:
    secret = await site.create(ONE, DEPLOY)
    await site.secrets.add_version(secret.id, "second", "ada")
    assert await site.ask("TOKEN") == {"TOKEN": "second"}
    assert await site.ask("TOKEN@1") == {"TOKEN": VALUE}
    with pytest.raises(NotFound):
        await site.ask("TOKEN@3")
    with pytest.raises(Conflict):
        await site.secrets.delete_version(secret.id, 2)
    kept = await site.secrets.delete_version(secret.id, 1)
    assert [(each.version, each.deleted) for each in kept.versions] == [(2, False), (1, True)]
    with pytest.raises(NotFound):
        await site.ask("TOKEN@1")
    assert (await site.secrets.add_version(secret.id, "third", "ada")).latest == 3


async def test_two_who_add_a_version_make_two_or_one_is_told(site: Site) -> None:
    secret = await site.create(ONE, DEPLOY)
    done = await asyncio.gather(
        *(site.secrets.add_version(secret.id, f"value {n}", "ada") for n in range(5)),
        return_exceptions=True,
    )
    good = [each for each in done if isinstance(each, Secret)]
    assert all(isinstance(each, (Secret, CloudIDEError)) for each in done)
    found = await site.secrets.get(secret.id)
    assert found.latest == 1 + len(good)
    assert len(found.versions) == found.latest


async def test_every_access_is_recorded_and_where_it_is_used(site: Site) -> None:
    secret = await site.create(ONE, Reader("one", ["deploy"], programs=True))
    await site.ask("TOKEN")
    await site.ask("TOKEN", user="bob")
    await site.ask("TOKEN", task="")
    assert [(action, about["user"]) for action, about in site.recorded] == [
        ("secret.access", "ada"),
        ("secret.access", "bob"),
        ("secret.access", "ada"),
    ]
    detail = site.recorded[0][1]["detail"]
    assert detail == {
        "secret": secret.id,
        "name": "TOKEN",
        "version": 1,
        "owner": "workspace one",
        "process": "task deploy",
    }
    assert VALUE not in str(site.recorded)
    uses = await site.secrets.uses(secret.id)
    assert [(each.process, each.user, each.count) for each in uses] == [
        ("terminal", "ada", 1),
        ("task deploy", "bob", 2),
    ]
    assert (await site.secrets.get(secret.id)).last_used_at == uses[0].at
    assert site.hidden == [VALUE] * 3


async def test_a_value_lies_sealed_and_bound_to_its_place(site: Site) -> None:
    one = await site.create(ONE, DEPLOY)
    own = await site.create(ADA, DEPLOY, value="another-value")
    assert VALUE.encode() not in (site.folder / "cloudide.sqlite").read_bytes()
    async with site.database.begin() as db:
        rows = {row.secret: row.value for row in await db.execute(select(secret_versions))}
        await db.execute(
            update(secret_versions)
            .where(secret_versions.c.secret == own.id)
            .values(value=rows[one.id])
        )
    with pytest.raises(Unsealable):
        await site.ask("TOKEN")
    assert site.recorded[-1][1]["outcome"].startswith("500")


async def test_names_values_and_readers_that_are_refused(site: Site) -> None:
    for name in ("", "1A", "A B", "A=B", "PATH", "LD_PRELOAD", "PYTHONPATH", "a" * 101):
        with pytest.raises(InvalidInput) as refused:
            await site.create(ONE, name=name)
        assert refused.value.details["pointer"] == "/name"
    for value in ("", "a\0b", "x" * 32769, "\ud800"):
        with pytest.raises(InvalidInput) as refused:
            await site.create(ONE, value=value)
        assert refused.value.details["pointer"] == "/value"
    for readers in ([Reader("two")], [Reader("one"), Reader("")], [Reader("one", [""])]):
        with pytest.raises(InvalidInput):
            await site.create(ONE, *readers)
    for wishes in (["A B"], ["A@0"], ["A@"], ["file:"], ["A", "A@2"], ["A"] * 33, ["a\n"]):
        with pytest.raises(InvalidInput):
            parse_wishes(wishes)
    assert await site.secrets.list(ONE) == []
    await site.create(ONE)
    with pytest.raises(Conflict):
        await site.create(ONE)


async def test_a_persons_secret_is_told_to_nobody_else(site: Site) -> None:
    await site.create(ADA)
    await site.create(ONE)
    async with site.database.begin() as db:
        found = [tuple(row) for row in await db.execute(select(events.c.user, events.c.needs))]
    assert found == [("ada", "self"), ("", "share")]


async def test_a_new_key_for_everything(site: Site) -> None:
    secret = await site.create(ONE, DEPLOY)
    await site.secrets.add_version(secret.id, "second", "ada")
    webhooks = Webhooks(site.database, site.sealing, Addresses())
    webhook, first = await webhooks.create("https://example.org/", [])
    _, second = await webhooks.rotate(webhook.id)
    credentials = Credentials(site.database, site.sealing)
    git = await credentials.add("ada", "github.com", "ada", "git-token")
    old = site.sealing.newest

    options = ["secrets", "rotate-key", "--data-dir", str(site.folder)]
    done = await asyncio.to_thread(CliRunner().invoke, cli, options)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("5 values")
    new = site.sealing.newest
    assert new != old
    assert new.hex() in done.output
    async with site.database.begin() as db:
        sealed = list((await db.execute(select(secret_versions.c.value))).scalars())
    assert {key_of(each) for each in sealed} == {new}
    # The server that runs all along opens them.
    assert await site.ask("TOKEN@1") == {"TOKEN": VALUE}
    assert (await webhooks.keys(webhook.id))[1] == [second, first]
    assert (await credentials.use(git)).secret == "git-token"
