from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linked import Linked, linked
from task_bench import Bench, ended

from cloudide.errors import CloudIDEError
from cloudide.storage.database import Database
from cloudide.storage.tables import users, workspaces


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "cloudide.sqlite")
    await database.start()
    async with database.begin() as db:
        await db.execute(
            users.insert().values(id="u1", name="Ada", color="#123456", admin=True, created_at=0)
        )
        await db.execute(
            workspaces.insert().values(
                id="one",
                name="one",
                image="base",
                owner="u1",
                desired_state="running",
                generation=1,
                created_at=0,
            )
        )
    yield database
    await database.close()


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Linked]:
    async with linked(tmp_path) as link:
        yield link


@pytest.fixture
async def bench(link: Linked, database: Database) -> AsyncIterator[Bench]:
    bench = Bench(link, database, task_output=1000, tasks_per_workspace=8)
    async with bench.tasks:
        yield bench
        for run in await bench.tasks.runs("one", ""):
            if not ended(run):
                try:
                    await bench.tasks.stop("one", run["id"])
                except CloudIDEError:
                    continue  # it ended by itself meanwhile
