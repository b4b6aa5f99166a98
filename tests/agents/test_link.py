"""The link between the server and a real agent process."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linked import TIMEOUT, Linked, attach, past, until

from cloudide.agents import Agents
from cloudide.errors import (
    AgentUnavailable,
    Conflict,
    Denied,
    InvalidInput,
    NotFound,
    TooLarge,
)
from cloudide.protocol.agent import CreateTerminal


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_the_directory_is_for_any_user_and_its_parent_for_none(tmp_path: Path) -> None:
    agents = Agents(tmp_path / "run")
    path = await agents.listen("one")
    try:
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
        assert stat.S_IMODE((path / "token").stat().st_mode) == 0o444
        for name in ("agent.sock", "tunnel.sock"):
            assert stat.S_IMODE((path / name).stat().st_mode) == 0o666
        assert sorted(os.listdir(path)) == ["agent.sock", "token", "tunnel.sock"]
        assert await agents.listen("one") == path
        await agents.forget("one")
        assert not path.exists()
        with pytest.raises(ValueError, match="not a workspace id"):
            await agents.listen("../etc")
    finally:
        await agents.close()


async def test_a_path_may_be_longer_than_a_socket_address(tmp_path: Path) -> None:
    agents = Agents(tmp_path / ("d" * 100) / ("e" * 100))
    path = await agents.listen("one")
    assert (path / "agent.sock").is_socket()
    await agents.close()


async def test_failures_are_domain_errors(link: Linked) -> None:
    agent = link.agent
    (link.root / "folder").mkdir()
    (link.root / "folder/file").write_bytes(b"12345")
    (link.root / "out").symlink_to("/etc")
    with pytest.raises(NotFound, match="nothing does not exist") as missing:
        await agent.read("nothing", 10)
    assert missing.value.details == {"code": "not_found"}
    with pytest.raises(TooLarge):
        await agent.read("folder/file", 4)
    with pytest.raises(InvalidInput) as not_a_file:
        await agent.read("folder", 10)
    assert not_a_file.value.details == {"code": "not_a_file"}
    for path in ("out/passwd", "../x"):
        with pytest.raises(Denied) as outside:
            await agent.read(path, 10)
        assert outside.value.details == {"code": "outside"}
    with pytest.raises(Conflict):
        await agent.delete("folder")
    with pytest.raises(Conflict):
        await agent.write("folder/file", b"", "")
    with pytest.raises(NotFound) as gone:
        await attach(agent, "nothing")
    assert gone.value.details == {"code": "gone"}


async def test_calls_are_answered_side_by_side(link: Linked) -> None:
    for number in range(300):
        (link.root / f"{number}").write_text(f"{number}")
    contents = await asyncio.gather(*(link.agent.read(f"{n}", 100) for n in range(300)))
    assert [content.content for content in contents] == [b"%d" % n for n in range(300)]


async def test_transfers(link: Linked) -> None:
    content = os.urandom(5_000_000)
    done = await link.agent.upload(
        chunks(content[:3], content[3:]), "a/b", 1 << 30, parents=True, expected=""
    )
    assert done.bytes == len(content)
    assert (link.root / "a/b").read_bytes() == content
    download = await link.agent.download("a/b")
    assert (download.stat.size, download.length) == (len(content), len(content))
    assert b"".join([part async for part in download]) == content
    part = await link.agent.download("a/b", 10, 20)
    assert b"".join([data async for data in part]) == content[10:30]
    part = await link.agent.download("a/b", len(content) + 5)
    assert [data async for data in part] == []
    with pytest.raises(Conflict):
        await link.agent.upload(chunks(b"x"), "a/b", 1 << 30, expected="")
    with pytest.raises(Conflict):
        await link.agent.upload(chunks(b"x"), "a/b", 1 << 30, expected="0" * 64)
    assert (link.root / "a/b").read_bytes() == content
    await link.agent.upload(chunks(b"x"), "a/b", 1 << 30, expected=done.hash)
    assert (link.root / "a/b").read_bytes() == b"x"
    assert os.listdir(link.root / "a") == ["b"]
    with pytest.raises(NotFound):
        await link.agent.download("nothing")


async def test_an_upload_over_the_limit_is_given_up(link: Linked) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield bytes(100_000)

    with pytest.raises(TooLarge, match="larger than 1 MiB"):
        await link.agent.upload(endless(), "file", 1 << 20)
    assert sent < 1000
    assert os.listdir(link.root) == []


async def test_an_upload_that_breaks_off_leaves_nothing(link: Linked) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await link.agent.upload(broken(), "file", 1 << 20)
    async with asyncio.timeout(TIMEOUT):
        while os.listdir(link.root):
            await link.agent.terminals()


async def test_bad_archives_are_refused(link: Linked) -> None:
    with pytest.raises(InvalidInput, match="not an archive"):
        await link.agent.unpack(
            chunks(b"hello" * 1000), "", 1 << 20, max_entries=10, max_bytes=1000
        )
    assert os.listdir(link.root) == []


async def test_terminals_outlive_the_server(link: Linked) -> None:
    """A server that restarts finds the agent by itself, with its terminals and the same token."""
    await link.agent.create_terminal(CreateTerminal("one", 80, 24, ["/bin/cat"]))
    stream = await attach(link.agent, "one")
    await past(stream)
    await stream.send(b"before\n")
    await until(stream, b"before\r\nbefore\r\n")
    boot = link.agent.hello.boot
    await link.agents.close()
    with pytest.raises(AgentUnavailable):
        await stream.recv()

    later = Agents(link.link.parent)
    await later.listen("one")
    try:
        agent = await later.wait("one", TIMEOUT)
        assert agent.hello.boot == boot
        assert [terminal.id for terminal in agent.hello.terminals] == ["one"]
        stream = await attach(agent, "one")
        assert b"before" in await past(stream)
        await stream.send(b"after\n")
        await until(stream, b"after\r\nafter\r\n")
        await stream.close()
    finally:
        await later.close()


async def test_an_agent_that_dies_fails_its_calls_and_streams(link: Linked) -> None:
    agent = link.agent
    await agent.create_terminal(CreateTerminal("one", 80, 24, ["/bin/cat"]))
    stream = await attach(agent, "one")
    await past(stream)
    link.process.send_signal(signal.SIGSTOP)
    call = asyncio.create_task(agent.terminals())
    receive = asyncio.create_task(stream.recv())
    await asyncio.sleep(0)
    link.process.send_signal(signal.SIGKILL)
    for task in (call, receive):
        with pytest.raises(AgentUnavailable):
            await task
    await link.heard.until(lambda heard: heard.disconnections == 1)
    with pytest.raises(AgentUnavailable):
        link.agents.agent("one")
    with pytest.raises(AgentUnavailable):
        await agent.terminals()
    await link.process.wait()
    await link.start()
    assert link.agent.hello.boot != agent.hello.boot


async def test_a_call_that_takes_too_long_fails_alone(link: Linked) -> None:
    from cloudide.protocol.agent import ListTerminals

    link.process.send_signal(signal.SIGSTOP)
    with pytest.raises(AgentUnavailable, match="does not answer"):
        await link.agent.call(ListTerminals(), timeout=0.01)
    link.process.send_signal(signal.SIGCONT)
    assert await link.agent.terminals() == []


async def test_waiting_for_nobody_fails(agents: Agents) -> None:
    await agents.listen("one")
    with pytest.raises(AgentUnavailable, match="did not connect"):
        await agents.wait("one", 0.01)
    with pytest.raises(AgentUnavailable):
        await agents.wait("two", 1)
