"""What workspaces use, with an engine that says what the test wants and a real agent."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from linked import linked

from cloudide.agents import Agents
from cloudide.errors import NotFound
from cloudide.workspaces import resources
from cloudide.workspaces.resources import Meter
from cloudide.workspaces.runtime import Consumption, Limits

LIMITS = Limits(cpus=2, memory=2**32, processes=1024)


class Engine:
    def __init__(self) -> None:
        self.cpu = 1.0
        self.running = ["w"]

    async def consumption(self, workspace: str) -> Consumption:
        if workspace not in self.running:
            raise NotFound("gone")
        return Consumption(cpu=self.cpu, memory=1000, memory_limit=2**32, processes=3)


async def test_an_hour_of_samples_and_no_more(monkeypatch) -> None:
    engine, clock = Engine(), 0.0
    monkeypatch.setattr(resources.time, "monotonic", lambda: clock)
    meter = Meter(Agents.__new__(Agents), lambda: engine.running, engine.consumption, LIMITS)
    monkeypatch.setattr(meter, "_told", lambda workspace: asyncio.sleep(0))
    for _ in range(resources.KEPT + 5):
        await meter.sample()
        clock += 15
        engine.cpu += 30  # two CPUs are busy
    view = await meter.view("w")
    assert len(view.history) == resources.KEPT
    assert {each.cpu for each in view.history} == {2.0}
    assert view.now is not None
    assert (view.now.cpu, view.now.memory, view.processes) == (2.0, 1000, None)
    engine.cpu += 5
    assert await meter.view("w") is view  # asked again at once: the same
    clock += 10
    later = (await meter.view("w")).now
    assert later is not None
    assert later.cpu == 0.5
    engine.cpu = 0  # another container
    clock += 10
    anew = (await meter.view("w")).now
    assert anew is not None
    assert anew.cpu == 0
    engine.running = []
    clock += 10
    await meter.sample()
    gone = await meter.view("w")
    assert (gone.now, gone.history) == (None, [])


async def test_processes_as_the_agent_sees_them(tmp_path: Path) -> None:
    async with linked(tmp_path) as link:
        program = await asyncio.create_subprocess_exec("sleep", "12345")
        try:
            told = await link.agent.processes(5000)
        finally:
            program.kill()
            await program.wait()
        [found] = [each for each in told.processes if each.pid == program.pid]
        assert (found.command, found.parent, found.threads) == ("sleep 12345", os.getpid(), 1)
        assert found.memory > 100_000
        assert 0 <= found.cpu < 5
        assert told.total == len(told.processes)
        assert 0 < told.disk_free < told.disk_total
        assert len((await link.agent.processes(2)).processes) == 2
