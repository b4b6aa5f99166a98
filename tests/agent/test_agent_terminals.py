"""Terminals and programs of a running agent."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest
from linked import TIMEOUT, Linked, attach, linked, past, rest, until

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


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


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
    stream = await attach(link.agent, "one")
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
        stream = await attach(link.agent, id)
        output = await past(stream)
        more, how = await rest(stream)
        assert how == Exit(code=0)
        assert (output + more).split() == [b"%d" % n for n in range(1, 20001)]
        await stream.close()
        await link.agent.close_terminal(id)


async def test_a_shell_is_interactive_and_on_its_own_terminal(link: Linked) -> None:
    await link.agent.create_terminal(terminal("one", env={"PS1": "$ ", "EXTRA": "set"}))
    stream = await attach(link.agent, "one")
    await past(stream)
    await stream.send(
        b"test -t 0 && echo $TERM-$COLORTERM-$EXTRA-${CLOUDIDE_LINK:-no}$((40+2)); stty size\n"
    )
    await until(stream, b"24 80", await until(stream, b"xterm-256color-truecolor-set-no42"))
    await link.agent.resize_terminal("one", 100, 30)
    await stream.send(b"stty size; (exec </dev/tty && echo tty$((1+1)))\n")
    await until(stream, b"tty2", await until(stream, b"30 100"))
    await stream.send(b"exit 4\n")
    assert (await rest(stream))[1] == Exit(code=4)
    await stream.close()


async def test_runs_in_a_folder_of_the_workspace(link: Linked) -> None:
    (link.root / "a b").mkdir()
    await link.agent.create_terminal(terminal("one", "pwd; read x", cwd="a b"))
    stream = await attach(link.agent, "one")
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
    first = await attach(link.agent, "one")
    await until(first, b"before", await past(first))
    second = await attach(link.agent, "one")
    assert b"before" in await past(second)
    await second.send(b"\n")
    await until(second, b"after")
    await second.close()
    third = await attach(link.agent, "one")
    assert b"after" in await past(third)
    await third.close()


async def test_a_replay_starts_at_a_safe_place(link: Linked) -> None:
    script = "i=0; while [ $i -lt 30000 ]; do printf '\\033[1;31m%05d🐍\\033[0m é\\r\\n' $i;" + (
        " i=$((i+1)); done; read x"
    )
    await link.agent.create_terminal(terminal("one", script))
    stream = await attach(link.agent, "one")
    await until(stream, b"29999", await past(stream))
    await stream.close()
    stream = await attach(link.agent, "one")
    content = await past(stream)
    await stream.close()
    assert len(content) >= 1 << 19
    content.decode()  # no character was cut
    head = content.partition(b"\n")[0].lstrip(b"\x1b[1;31m0123456789")
    assert head.startswith("🐍".encode()) or head.startswith((b"\x1b[0m", b" ", "é".encode()))


async def test_a_slow_viewer_stops_the_program_and_nothing_is_lost(link: Linked) -> None:
    await link.agent.create_terminal(terminal("one", "read x; seq 1 300000; exit 0"))
    stream = await attach(link.agent, "one")
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
    """Background jobs, programs deaf to HUP and TERM, those in sessions of their own: all go."""
    script = (
        "sh -c 'trap \"\" HUP TERM; echo deaf $$; while :; do sleep 1; done' & "
        "sleep 1000 & echo quiet $!; set -m; (sleep 1001; true) & echo group $!; set +m; "
        "setsid sh -c 'echo own $$; sleep 1002; true' & "
        "setsid -w sh -c 'trap \"\" HUP TERM; echo both $$; sleep 1003; true' & "
        "echo shell $$; cat"
    )
    await link.agent.create_terminal(terminal("one", script))
    stream = await attach(link.agent, "one")
    seen = await past(stream)
    names = ("deaf", "quiet", "group", "own", "both", "shell")
    async with asyncio.timeout(TIMEOUT):
        while not all(f"{name} ".encode() in seen for name in names) or seen[-1:] != b"\n":
            more = await stream.recv()
            assert isinstance(more, bytes)
            seen += more
    lines = [line.split() for line in seen.decode().splitlines()]
    pids = [int(line[1]) for line in lines if len(line) == 2 and line[0] in names]
    assert len(pids) == len(names)
    everybody = {pid for pid in processes() if pid in pids or parent(pid) in pids}
    assert len(everybody) > len(names)
    await link.agent.close_terminal("one")
    assert [pid for pid in everybody if alive(pid)] == []
    # On a machine under load the next step of the escalation may be what ends the shell; and one
    # that hears the first may exit by itself, with the code that stands for it.
    exit = (await rest(stream))[1]
    hung_up = Exit(code=128 + signal.SIGHUP)
    assert exit in (hung_up, Exit(signal=signal.SIGHUP), Exit(signal=signal.SIGTERM))
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


async def test_what_is_known_of_a_terminal_is_told(link: Linked) -> None:
    """Title, bells, directory and foreground command; the last two from the system."""
    (link.root / "a b").mkdir()
    script = (
        "printf '\\033]0;a title\\007\\a\\a'; cd 'a b'; echo; set -m; sleep 1000; echo over; read x"
    )
    await link.agent.create_terminal(terminal("one", script))
    await link.heard.until(
        lambda heard: "one" in heard.terminals and heard.terminals["one"].foreground != ""
    )
    info = link.heard.terminals["one"]
    assert (info.title, info.bells, info.foreground) == ("a title", 2, "sleep 1000")
    assert info.directory == str(link.root / "a b")
    (sleeper,) = [pid for pid in processes() if parent(pid) == info.pid]
    os.kill(sleeper, signal.SIGTERM)
    await link.heard.until(lambda heard: heard.terminals["one"].foreground == "")


async def test_a_shell_may_say_where_it_is(link: Linked) -> None:
    script = "printf '\\033]7;file:///else%%20where\\033\\\\'; read x; " + (
        "printf '\\033]7;file://other.example/away\\033\\\\'; printf '\\033]0;t\\a'; read x"
    )
    await link.agent.create_terminal(terminal("one", script))
    await link.heard.until(
        lambda heard: "one" in heard.terminals and heard.terminals["one"].directory != ""
    )
    assert link.heard.terminals["one"].directory == "/else where"
    stream = await attach(link.agent, "one")
    await stream.send(b"\n")
    await link.heard.until(lambda heard: heard.terminals["one"].title == "t")
    assert link.heard.terminals["one"].directory == "/else where"
    await stream.close()


async def test_a_login_shell_keeps_the_path_of_the_image(tmp_path: Path) -> None:
    """/etc/profile sets a PATH of its own; what the user's profile adds comes first."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".profile").write_text('PATH="$HOME/bin:$PATH:/last"; export FROM_PROFILE=yes\n')
    path = f"/image/bin:{os.environ['PATH']}"
    environment = {"HOME": str(home), "SHELL": "/bin/bash", "PATH": path, "PS1": "$ "}
    async with linked(tmp_path, LANG="xx_XX.UTF-8", **environment) as link:
        await link.agent.create_terminal(terminal("one"))
        stream = await attach(link.agent, "one")
        await past(stream)
        ask = b"echo =$FROM_PROFILE-$TERM-$LANG=; echo =$PATH=; stty -a | grep -o -e '[-]*iutf8'; "
        await stream.send(ask + b"echo ov''er\n")
        seen = (await until(stream, b"over\r\n")).decode()
        assert "=yes-xterm-256color-C.UTF-8=" in seen
        assert "\r\niutf8" in seen
        (found,) = [line for line in seen.splitlines() if line.startswith("=/")]
        folders = found.strip("=").split(":")
        assert folders[0] == f"{home}/bin"
        assert folders[-1] == "/last"
        image = path.split(":")
        start = folders.index("/image/bin")
        assert folders[start : start + len(image)] == image
        assert len(folders) == len(set(folders)) or len(image) != len(set(image))
        await stream.close()


async def test_nothing_of_the_agent_is_inherited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its variables nor its descriptors: what a program has is its terminal.

    Nor a size that an image or a service manager has set, which would be believed for ever.
    """
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    async with linked(tmp_path) as link:
        script = "tr '\\0' '\\n' </proc/self/environ; ls /proc/$$/fd; echo over"
        await link.agent.create_terminal(terminal("one", script))
        stream = await attach(link.agent, "one")
        seen = await past(stream)
        seen += (await rest(stream))[0]
        names = set(re.findall(rb"CLOUDIDE_[A-Z_]*", seen))
        assert names == {b"CLOUDIDE_GIT", b"CLOUDIDE_GIT_ROOT", b"CLOUDIDE_TERMINAL"}
        assert b"COLUMNS=" not in seen
        assert b"LINES=" not in seen
        assert str(link.link).encode() not in seen
        lines = seen.decode().split()
        descriptors = lines[lines.index("0") : lines.index("over")]
        # The shell's own, for the script it runs, may lie at 10 and above.
        assert [number for number in descriptors if int(number) < 10] == ["0", "1", "2"]
        await stream.close()


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
