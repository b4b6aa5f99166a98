from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linked import Linked, Recorder, linked

from cloudide.agents import Agents


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Linked]:
    async with linked(tmp_path) as link:
        yield link


@pytest.fixture
async def agents(tmp_path: Path) -> AsyncIterator[Agents]:
    agents = Agents(tmp_path / "run")
    yield agents
    await agents.close()


@pytest.fixture
def heard(agents: Agents) -> Recorder:
    recorder = Recorder()
    agents.subscribe(recorder)
    return recorder
