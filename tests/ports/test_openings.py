"""What an agent tells of ports is checked and bounded; tunnels are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linked import TIMEOUT, Linked, linked

from cloudide.agents import Agents
from cloudide.errors import NotFound, TooMany
from cloudide.ports import tunnels as tunnels_
from cloudide.ports.openings import Openings
from cloudide.ports.sites import Target
from cloudide.ports.tunnels import Tunnels
from cloudide.protocol.agent import PORTS_LIMIT, Port


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Linked]:
    async with linked(tmp_path) as link:
        yield link


@pytest.fixture
async def tunnels(link: Linked) -> AsyncIterator[Tunnels]:
    tunnels = Tunnels(link.agents)
    yield tunnels
    await tunnels.close()


async def test_nonsense_of_an_agent_is_left_out(tmp_path: Path) -> None:
    openings = Openings(Agents(tmp_path / "run"))
    changes: list[str] = []
    openings.on_change = changes.append
    told = [
        Port(0),
        Port(-1),
        Port(65536),
        Port(10**30),
        Port(80, command="a\x1b[2J\n" + "b" * 9999),
    ]
    openings.ports_changed("w0", told)
    (port,) = openings.list("w0")
    assert port.port == 80
    assert port.command.startswith("a\ufffd[2J\ufffdb")
    assert len(port.command) <= 500
    openings.ports_changed("w0", [*told])
    assert changes == ["w0"]
    openings.ports_changed("w0", [Port(number) for number in range(1, 10_000)])
    assert len(openings.list("w0")) == PORTS_LIMIT
    openings.disconnected("w0")
    assert openings.list("w0") == []
    assert len(changes) == 3


async def test_waiting_ends_when_the_port_opens_or_the_time_is_over(tmp_path: Path) -> None:
    openings = Openings(Agents(tmp_path / "run"))
    assert not await openings.wait("w0", 80, 0.01)
    waiting = asyncio.create_task(openings.wait("w0", 80, TIMEOUT))
    await asyncio.sleep(0)
    openings.ports_changed("w0", [Port(81)])
    openings.ports_changed("w1", [Port(80)])
    await asyncio.sleep(0)
    assert not waiting.done()
    openings.ports_changed("w0", [Port(80)])
    assert await waiting


async def test_a_workspace_has_a_limited_number_of_tunnels(
    link: Linked, tunnels: Tunnels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels_, "TUNNELS_LIMIT", 3)

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(hold, "127.0.0.1", 0) as server:
        target = Target(server.sockets[0].getsockname()[1], "one")
        kept = await tunnels.dial(target)
        tunnels.keep(target, kept)
        async with tunnels.connect("one", target.port), tunnels.connect("one", target.port):
            assert tunnels.take(target) is kept
            with pytest.raises(TooMany):
                await tunnels.dial(target)
            tunnels.keep(target, kept)
            # An idle connection makes room for one that is asked for.
            async with tunnels.connect("one", target.port):
                pass
            assert tunnels.take(target) is None
    with pytest.raises(NotFound):
        await tunnels.dial(target)
    await tunnels.close()
    assert not tunnels._open
