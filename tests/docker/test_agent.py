"""The agent's bundle in an image that holds nothing but busybox, as a user without privileges."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linked import Recorder, attach, past, rest, until

from cloudide.agents import Agent, Agents
from cloudide.errors import Denied
from cloudide.images.stock import StockImages
from cloudide.protocol.agent import Change, CreateTerminal, Exit
from cloudide.workspaces.docker import DockerRuntime
from cloudide.workspaces.engine import Engine
from cloudide.workspaces.runtime import ContainerSpec, Limits

pytest_plugins = ["engine"]

MIB = 1024 * 1024
WORKSPACE = "one"


@pytest.fixture(scope="module")
async def hub() -> AsyncIterator[tuple[Agents, Recorder, Path]]:
    directory = Path(tempfile.mkdtemp(prefix="cloudide-agent-"))
    agents, heard = Agents(directory), Recorder()
    agents.subscribe(heard)
    yield agents, heard, await agents.listen(WORKSPACE)
    await agents.close()
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
async def agent(
    engine: Engine, stock: StockImages, busybox: str, hub: tuple[Agents, Recorder, Path]
) -> AsyncIterator[Agent]:
    agents, _, directory = hub
    runtime = DockerRuntime(engine, instance="test-agent", network_pool="10.214.16.0/20")
    await runtime.destroy(WORKSPACE)  # left by a run that was killed
    await runtime.create(
        ContainerSpec(
            workspace_id=WORKSPACE,
            generation=1,
            image=busybox,
            agent_volume=await stock.ensure_agent_volume(),
            link_directory=directory,
            limits=Limits(cpus=1, memory=128 * MIB, processes=64),
        )
    )
    try:
        await runtime.start(WORKSPACE)
        yield await agents.wait(WORKSPACE, 60)
    finally:
        await runtime.destroy(WORKSPACE)
        await runtime.close()


async def output_of(agent: Agent, *argv: str) -> str:
    output = b""

    def keep(_: int, data: bytes) -> None:
        nonlocal output
        output += data

    status = await agent.execute(argv, on_output=keep)
    assert status == Exit(code=0), output
    return output.decode()


async def test_runs_as_the_workspace_user(agent: Agent) -> None:
    assert agent.hello.uid == 1000
    assert agent.hello.terminals == []


async def test_reads_and_writes_on_a_fresh_volume(agent: Agent) -> None:
    written = await agent.write("src/a é.txt", b"one", "", parents=True)
    assert written.created
    again = await agent.write("src/a é.txt", b"two", written.hash)
    assert (await agent.read("src/a é.txt", 100)).content == b"two"
    displaced = (await agent.write("src/a é.txt", b"three", written.hash)).displaced
    assert displaced is not None
    assert displaced.content == b"two"
    await agent.release_swap("src/a é.txt", displaced.name)
    assert again.hash != written.hash
    assert [entry.path for entry in (await agent.list("", 2)).entries] == ["src", "src/a é.txt"]
    await agent.move("src", "moved")
    await agent.delete("moved", recursive=True)
    assert (await agent.list()).entries == []


async def test_links_out_of_the_workspace_are_refused(agent: Agent) -> None:
    await output_of(agent, "busybox", "ln", "-s", "/run/cloudide/token", "link")
    with pytest.raises(Denied):
        await agent.read("link", 100)
    await agent.delete("link")


async def test_notices_what_programs_change(
    agent: Agent, hub: tuple[Agents, Recorder, Path]
) -> None:
    _, heard, _ = hub
    number = 0
    while not any(change.path == "probe" for change in heard.changes):
        number += 1
        await agent.write("probe", b"%d" % number)
    await output_of(agent, "sh", "-c", "mkdir -p deep/er; echo text > deep/er/file")
    await heard.until(lambda heard: Change("deep/er/file", "added") in heard.changes)
    await agent.delete("deep", recursive=True)
    await agent.delete("probe")


async def test_a_terminal_without_a_shell_in_passwd(agent: Agent) -> None:
    info = await agent.create_terminal(CreateTerminal("one", 80, 24))
    assert info.command in (["/bin/sh"], ["/bin/busybox", "sh"])
    stream = await attach(agent, "one")
    await past(stream)
    await stream.send(b"echo $TERM $((40+2)) $HOME; busybox stty size; exit 3\n")
    seen = await until(stream, b"xterm-256color 42 /home/dev")
    output, how = await rest(stream)
    assert b"24 80" in seen + output
    assert how == Exit(code=3)
    await stream.close()
    await agent.close_terminal("one")


async def test_programs_see_nothing_of_the_agent(agent: Agent) -> None:
    environment = (await output_of(agent, "busybox", "env")).splitlines()
    names = {line.partition("=")[0] for line in environment}
    # Where Git's hook and helper ask; it is no secret, and nothing is asked for in it.
    names -= {"CLOUDIDE_GIT", "CLOUDIDE_GIT_ROOT"}
    assert not {name for name in names if name.startswith(("PYTHON", "LD_", "CLOUDIDE"))}
    assert {"PATH", "HOME", "USER", "LANG"} <= names


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/run").write_text("#!/bin/sh\necho ran\n")
    (tmp_path / "pkg/run").chmod(0o755)
    return Path(shutil.make_archive(str(tmp_path / "pkg"), "gztar", tmp_path, "pkg")).read_bytes()


async def test_uploads_and_archives(agent: Agent, archive: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield archive

    await agent.unpack(chunks(), "", 1 << 20, max_entries=10, max_bytes=1 << 20)
    assert await output_of(agent, "./run") == "ran\n"
    download = await agent.download("run")
    assert b"".join([part async for part in download]) == b"#!/bin/sh\necho ran\n"
    await agent.delete("run")


async def test_is_small(agent: Agent) -> None:
    await agent.create_terminal(CreateTerminal("small", 80, 24, ["busybox", "cat"]))
    status = await output_of(agent, "sh", "-c", "busybox cat /proc/$PPID/status; true")
    await agent.close_terminal("small")
    (resident,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    print(f"resident: {resident} kB")
    assert int(resident) < 40 * 1024, f"{resident} kB"
