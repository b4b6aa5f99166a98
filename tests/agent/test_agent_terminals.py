"""Terminals and programs of a running agent."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from linked import TIMEOUT, Linked, past, rest, until

from cloudide.errors import InvalidInput, NotFound
from cloudide.protocol.agent import EXITED_TERMINALS, STDERR, STDOUT, CreateTerminal, Exit

SH = ["/bin/sh", "-c"]


def terminal(id: str, script: str = "", **fields: object) -> CreateTerminal:
    return CreateTerminal(id, 80, 24, [*SH, script] if script else [], **fields)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


@pytest.mark.parametrize(
    ("script", "exit"),
    [
        ("exit 0", Exit(code=0)),
        ("exit 3", Exit(code=3)),
        ("kill -9 $$", Exit(signal=signal.SIGKILL)),
    ],
)
async def test_says_how_a_program_ended(link: Linked, script: str, exit: Exit) -> None:
    await link.agent.create_terminal(terminal("one", f"printf done; read x; {script}"))
    stream = await link.agent.attach_terminal("one")
    seen = await past(stream)
    await stream.send(b"\n")
    output, how = await rest(stream)
    assert b"done" in seen + output
    assert how == exit
    await stream.close()
    await link.heard.until(
        lambda heard: "one" in heard.terminals and heard.terminals["one"].exit == exit
    )
    (info,) = await link.agent.terminals()
    assert info.exit == exit


async def test_nothing_of_the_last_output_is_lost(link: Linked) -> None:
    for number in range(20):
        id = f"t{number}"
        await link.agent.create_terminal(terminal(id, "seq 1 20000"))
        stream = await link.agent.attach_terminal(id)
        output = await past(stream)
        more, how = await rest(stream)
        assert how == Exit(code=0)
        assert (output + more).split() == [b"%d" % n for n in range(1, 20001)]
        await stream.close()
        await link.agent.close_terminal(id)


async def test_a_shell_is_interactive_and_on_its_own_terminal(link: Linked) -> None:
    await link.agent.create_terminal(terminal("one", env={"PS1": "$ ", "EXTRA": "set"}))
    stream = await link.agent.attach_terminal("one")
    await past(stream)
    await stream.send(
        b"test -t 0 && echo $TERM-$COLORTERM-$EXTRA-${CLOUDIDE_LINK:-no}$((40+2)); stty size\n"
    )
    await until(stream, b"xterm-256color-truecolor-set-no42")
    await until(stream, b"24 80")
    await link.agent.resize_terminal("one", 100, 30)
    await stream.send(b"stty size; (exec </dev/tty && echo tty$((1+1)))\n")
    await until(stream, b"tty2", await until(stream, b"30 100"))
    await stream.send(b"exit 4\n")
    assert (await rest(stream))[1] == Exit(code=4)
    await stream.close()


async def test_runs_in_a_folder_of_the_workspace(link: Linked) -> None:
    (link.root / "a b").mkdir()
    await link.agent.create_terminal(terminal("one", "pwd; read x", cwd="a b"))
    stream = await link.agent.attach_terminal("one")
    await until(stream, str(link.root / "a b").encode(), await past(stream))
    await stream.close()
    for cwd, error in (("nowhere", NotFound), ("../..", Exception)):
        with pytest.raises(error):
            await link.agent.create_terminal(terminal("two", "true", cwd=cwd))


async def test_a_program_that_is_not_there(link: Linked) -> None:
    with pytest.raises(NotFound, match="'nonsense' is not installed"):
        await link.agent.create_terminal(CreateTerminal("one", 80, 24, ["nonsense"]))
    with pytest.raises(NotFound):
        await link.agent.execute(["nonsense"])
    with pytest.raises(InvalidInput):
        await link.agent.execute([])


async def test_a_later_viewer_sees_what_was(link: Linked) -> None:
    await link.agent.create_terminal(terminal("one", "printf before; read x; printf after; cat"))
    first = await link.agent.attach_terminal("one")
    await until(first, b"before", await past(first))
    second = await link.agent.attach_terminal("one")
    assert b"before" in await past(second)
    await second.send(b"\n")
    await until(second, b"after")
    await second.close()
    third = await link.agent.attach_terminal("one")
    assert b"after" in await past(third)
    await third.close()


async def test_a_replay_starts_at_a_safe_place(link: Linked) -> None:
    script = "i=0; while [ $i -lt 30000 ]; do printf '\\033[1;31m%05d🐍\\033[0m é\\r\\n' $i;" + (
        " i=$((i+1)); done; read x"
    )
    await link.agent.create_terminal(terminal("one", script))
    stream = await link.agent.attach_terminal("one")
    await until(stream, b"29999", await past(stream))
    await stream.close()
    stream = await link.agent.attach_terminal("one")
    content = await past(stream)
    await stream.close()
    assert len(content) >= 1 << 19
    content.decode()  # no character was cut
    head = content.partition(b"\n")[0].lstrip(b"\x1b[1;31m0123456789")
    assert head.startswith("🐍".encode()) or head.startswith((b"\x1b[0m", b" ", "é".encode()))


async def test_a_slow_viewer_stops_the_program_and_nothing_is_lost(link: Linked) -> None:
    await link.agent.create_terminal(terminal("one", "read x; seq 1 300000; exit 0"))
    stream = await link.agent.attach_terminal("one")
    await past(stream)
    await stream.send(b"\n")
    # Nothing is received for now: buffers fill up, then the program waits in its write.
    for _ in range(100):
        await link.agent.terminals()
    output, how = await rest(stream)
    assert output.split() == [b"%d" % n for n in range(1, 300001)]
    assert how == Exit(code=0)
    await stream.close()


async def test_closing_leaves_no_orphans(link: Linked) -> None:
    """Background jobs, programs deaf to HUP and TERM, and the shell: all are gone."""
    script = (
        "sh -c 'trap \"\" HUP TERM; echo deaf $$; while :; do sleep 1; done' & "
        "sleep 1000 & echo quiet $!; echo shell $$; cat"
    )
    await link.agent.create_terminal(terminal("one", script))
    stream = await link.agent.attach_terminal("one")
    seen = await past(stream)
    async with asyncio.timeout(TIMEOUT):
        while seen.count(b"\n") < 3:
            more = await stream.recv()
            assert isinstance(more, bytes)
            seen += more
    pids = [int(line.split()[1]) for line in seen.decode().splitlines() if len(line.split()) == 2]
    assert len(pids) == 3
    await link.agent.close_terminal("one")
    assert [pid for pid in pids if alive(pid)] == []
    # On a machine under load the next step of the escalation may be what ends the shell.
    exit = (await rest(stream))[1]
    assert exit in (Exit(signal=signal.SIGHUP), Exit(signal=signal.SIGTERM))
    await stream.close()
    assert await link.agent.terminals() == []
    await link.heard.until(lambda heard: heard.removed == ["one"])
    with pytest.raises(NotFound):
        await link.agent.close_terminal("one")


async def test_only_the_last_ended_terminals_are_kept(link: Linked) -> None:
    count = EXITED_TERMINALS + 3
    for number in range(count):
        id = f"t{number}"
        await link.agent.create_terminal(terminal(id, "true"))
        await link.heard.until(
            lambda heard, id=id: id in heard.terminals and heard.terminals[id].exit is not None
        )
    await link.heard.until(lambda heard: heard.removed == ["t0", "t1", "t2"])
    assert len(await link.agent.terminals()) == EXITED_TERMINALS


async def test_ending_the_agent_ends_its_terminals(link: Linked) -> None:
    info = await link.agent.create_terminal(terminal("one", "cat"))
    await link.stop()
    assert link.process.returncode == 0
    assert not alive(info.pid)


async def test_titles_are_told(link: Linked) -> None:
    await link.agent.create_terminal(terminal("one", "printf '\\033]0;a title\\007'; read x"))
    await link.heard.until(lambda heard: "one" in heard.terminals)
    assert link.heard.terminals["one"].title == "a title"


# ── programs without a terminal ─────────────────────────────────────────────────────────────────


async def test_executes_with_input_output_and_exit(link: Linked) -> None:
    output: dict[int, bytes] = {STDOUT: b"", STDERR: b""}

    def keep(channel: int, data: bytes) -> None:
        output[channel] += data

    status = await link.agent.execute(
        [*SH, "cat; echo problem >&2; exit 7"], stdin=b"x" * 3_000_000, on_output=keep
    )
    assert status == Exit(code=7)
    assert output == {STDOUT: b"x" * 3_000_000, STDERR: b"problem\n"}


async def test_what_a_program_leaves_behind_does_not_hold_it_up(link: Linked) -> None:
    seen: list[bytes] = []
    status = await link.agent.execute(
        [*SH, "sleep 1000 & echo $!"], on_output=lambda _, data: seen.append(data)
    )
    assert status == Exit(code=0)
    os.kill(int(b"".join(seen)), signal.SIGKILL)


async def test_a_program_that_nobody_waits_for_is_killed(link: Linked) -> None:
    pids: list[int] = []
    with pytest.raises(TimeoutError):
        await link.agent.execute(
            [*SH, "trap '' HUP TERM; echo $$; sleep 1000 & echo $!; wait"],
            on_output=lambda _, data: pids.extend(map(int, data.split())),
            timeout=1,
        )
    assert len(pids) == 2
    for pid in pids:
        async with asyncio.timeout(TIMEOUT):
            while alive(pid):
                await link.agent.terminals()
