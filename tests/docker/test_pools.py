"""Ready workspaces on a real engine: claimed, refilled, replaced, and never left behind."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from containers import belongings
from server import WAIT_SECONDS, Server, serving

from cloudide.workspaces.engine import Engine

pytest_plugins = ["engine"]

KILLS = 30


@pytest.fixture(scope="module")
async def pooled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A server of its own: it may be killed, and has no pools between the tests."""
    data = tmp_path_factory.mktemp("pooled") / "data"
    async with serving(data, workspaces_per_user=1, pool='{"base": 0}') as server:
        yield server
        await resize(server, 0)


async def resize(server: Server, size: int, *, ready: int | None = None) -> None:
    """Set the size of the pool and wait until that many, and no more, are in the engine."""
    await server.api.put("/api/v1/pools", json={"image": "base", "size": size})
    await filled(server, size if ready is None else ready)


async def filled(server: Server, ready: int) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while (await state(server))["ready"] != ready or len(slots(server)) != ready:  # noqa: ASYNC110 - it is nobody's, so nobody is told
            await asyncio.sleep(0.05)


async def state(server: Server) -> dict[str, Any]:
    [found] = (await server.api.get("/api/v1/pools"))["pools"]
    return found


def slots(server: Server) -> list[str]:
    with sqlite3.connect(f"file:{server.data_dir / 'cloudide.sqlite'}?mode=ro", uri=True) as db:
        return [id for (id,) in db.execute("select id from pool_slots")]


async def in_engine(server: Server, engine: Engine) -> dict[str, int]:
    """How many things of each workspace there are in the engine."""
    instance = (server.data_dir / "instance").read_text().strip()
    counts: dict[str, int] = {}
    for name in await belongings(engine, instance):
        id = name.split("-")[2]
        counts[id] = counts.get(id, 0) + 1
    return counts


WHOLE = 4  # a container, two volumes and a network


async def test_a_claimed_workspace_was_ready_and_is_somebodys_alone(
    pooled: Server, engine: Engine
) -> None:
    """It has the id, container and volumes that it had in the pool, but not its token."""
    await resize(pooled, 1)
    [slot] = slots(pooled)
    run = pooled.data_dir / "run" / slot / "token"
    former = run.read_text()
    listed = await pooled.api.get("/api/v1/workspaces")
    assert listed["workspaces"] == []
    for path in ("", "/tree", "/terminals"):
        refused = await pooled.api.request("GET", f"/api/v1/workspaces/{slot}{path}")
        assert refused.status_code == 404

    body = {"name": "claimed", "image": "base"}
    workspace = await pooled.api.post("/api/v1/workspaces", json=body)
    assert workspace["id"] == slot
    assert run.read_text() != former
    # There is nothing to wait for.
    exit, output = await pooled.api.run(slot, "sh", "-c", "echo $CLOUDIDE_WORKSPACE; ls /workspace")
    assert (exit, output.split()) == ({"code": 0}, [slot])
    assert (await pooled.api.until(slot, "running"))["name"] == "claimed"

    await filled(pooled, 1)
    assert slots(pooled) != [slot]
    assert set((await in_engine(pooled, engine)).values()) == {WHOLE}
    await pooled.api.remove(slot)
    await resize(pooled, 0)
    assert await in_engine(pooled, engine) == {}


async def test_a_slot_that_broke_or_is_outdated_is_made_anew_and_no_other(
    pooled: Server, engine: Engine
) -> None:
    await resize(pooled, 1)
    [broken] = slots(pooled)
    instance = (pooled.data_dir / "instance").read_text().strip()
    await engine.call(lambda client: client.kill(f"cloudide-{instance}-{broken}"))
    async with asyncio.timeout(WAIT_SECONDS):
        while broken in slots(pooled):  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0.05)
    await filled(pooled, 1)

    # A ready one outlives a restart of the server.
    [whole] = slots(pooled)
    await pooled.kill()
    await pooled.start()
    await filled(pooled, 1)
    assert slots(pooled) == [whole]

    # A server with other limits makes other containers; the database says what these were made as.
    [outdated] = slots(pooled)
    await pooled.stop()
    with sqlite3.connect(pooled.data_dir / "cloudide.sqlite") as db:
        db.execute("update pool_slots set version = 'another'")
    await pooled.start()
    await filled(pooled, 1)
    assert outdated not in slots(pooled)
    await resize(pooled, 0)
    assert await in_engine(pooled, engine) == {}


async def test_a_server_killed_while_it_refills_leaves_nothing_behind(
    pooled: Server, engine: Engine, soak: Callable[[int, int], int]
) -> None:
    """At whatever moment: afterwards there is what the rows say, whole, and nothing else."""
    seed = random.Random(7)  # noqa: S311 - a replayable order, not a secret
    for _ in range(soak(KILLS, 2)):
        await pooled.api.put("/api/v1/pools", json={"image": "base", "size": 2})
        await asyncio.sleep(seed.uniform(0, 1.5))
        await pooled.kill()
        await pooled.start()
        await filled(pooled, 2)
        assert await in_engine(pooled, engine) == dict.fromkeys(slots(pooled), WHOLE)
        await resize(pooled, 0)
        assert await in_engine(pooled, engine) == {}
    assert os.listdir(pooled.data_dir / "run") == []


async def test_only_what_is_claimed_counts(pooled: Server) -> None:
    """Two at the same moment, of which one is too many: its slot stays the pool's."""
    await resize(pooled, 2)
    former = slots(pooled)
    body = {"name": "one of two", "image": "base"}
    answers = await asyncio.gather(
        *(pooled.api.request("POST", "/api/v1/workspaces", json=body) for _ in range(2))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 429]
    await filled(pooled, 2)
    assert len({*former, *slots(pooled)}) == 3
    [claimed] = [each.json()["id"] for each in answers if each.status_code == 201]
    await pooled.api.remove(claimed)
    await resize(pooled, 0)


async def test_sizes_and_images_that_cannot_be(pooled: Server) -> None:
    for body, status in (
        ({"image": "base", "size": -1}, 400),
        ({"image": "base", "size": 101}, 400),
        ({"image": "missing", "size": 1}, 404),
    ):
        answer = await pooled.api.request("PUT", "/api/v1/pools", json=body)
        assert answer.status_code == status, answer.text
    team = (await pooled.api.post("/api/v1/teams", json={"name": "Warm"}))["id"]
    body = {"image": "base", "size": 5, "team": team}
    answer = await pooled.api.request("PUT", "/api/v1/pools", json=body)
    assert "up to 4 workspaces together, and these would be 5" in answer.json()["detail"]
