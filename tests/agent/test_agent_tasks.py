"""Tasks in the agent: output, end, readiness, cost, and what they are made from."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from linked import TIMEOUT, Linked

from cloudide.agent import inputs
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.agents import Stream
from cloudide.errors import InvalidInput, NotFound
from cloudide.protocol.agent import Exit, Exited, InputsHash, RunTask, Stop, TaskReady


async def start(link: Linked, command: Sequence[str] | str, **more: object) -> Stream:
    given = command if isinstance(command, str) else [*command]
    return await link.agent.open(lambda stream: RunTask(stream, given, **more))  # type: ignore[arg-type]


async def finish(stream: Stream) -> tuple[bytes, Exited, list[TaskReady]]:
    output, ready = b"", []
    async with asyncio.timeout(TIMEOUT):
        while True:
            match await stream.recv():
                case bytes() as data:
                    output += data
                case TaskReady() as message:
                    ready.append(message)
                case Exited() as exited:
                    return output, exited, ready
                case other:
                    raise AssertionError(other)


async def until(stream: Stream, wanted: bytes) -> None:
    seen = b""
    async with asyncio.timeout(TIMEOUT):
        while wanted not in seen:
            data = await stream.recv()
            assert isinstance(data, bytes), data
            seen += data


async def test_a_line_for_the_shell_prints_to_a_terminal_and_reads_nothing(link: Linked) -> None:
    script = "test -t 1 && echo terminal; cat; echo $A $PAGER; pwd; stty size <&1; exit 3"
    (link.root / "sub").mkdir()
    stream = await start(link, script, cwd="sub", env={"A": "b"}, cols=90, rows=20)
    output, exited, _ = await finish(stream)
    assert output.split() == [
        *(b"terminal", b"b", b"cat"),
        *(os.fsencode(link.root / "sub"), b"20", b"90"),
    ]
    assert exited.exit == Exit(code=3)


async def test_much_output_comes_whole(link: Linked) -> None:
    stream = await start(link, [sys.executable, "-c", "for _ in range(20000): print('y' * 78)"])
    output, exited, _ = await finish(stream)
    assert (len(output), exited.exit) == (20000 * 80, Exit(code=0))


async def test_cpu_and_memory_of_the_whole_session(link: Linked) -> None:
    # The parent waits for a child, which takes 60 MB and a third of a second of computing.
    child = "import time; hold = bytearray(60_000_000)\nwhile time.process_time() < 0.35: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    stream = await start(link, [sys.executable, "-c", parent])
    _, exited, _ = await finish(stream)
    assert exited.usage is not None
    assert 0.3 < exited.usage.cpu_seconds < 5
    assert 60_000_000 < exited.usage.peak_memory < 200_000_000


async def test_stopping_ends_the_session_and_tells_how(link: Linked) -> None:
    script = "trap 'echo bye; exit 7' HUP; sleep 1000 & echo up; wait"
    stream = await start(link, script)
    await until(stream, b"up")
    await stream.send(Stop())
    output, exited, _ = await finish(stream)
    assert b"bye" in output
    assert exited.exit == Exit(code=7)
    assert not sleeping("1000")


async def test_what_ignores_every_wish_is_killed(link: Linked) -> None:
    stream = await start(link, "trap '' HUP TERM; echo up; sleep 1001; sleep 1001; sleep 1001")
    await until(stream, b"up")
    await stream.send(Stop())
    _, exited, _ = await finish(stream)
    assert exited.exit == Exit(signal=9)
    assert not sleeping("1001")


async def test_nothing_is_left_behind_by_a_task_that_ends(link: Linked) -> None:
    stream = await start(link, "sleep 1002 & echo started")
    output, exited, _ = await finish(stream)
    assert (output, exited.exit) == (b"started\r\n", Exit(code=0))
    assert not sleeping("1002")


async def test_a_stream_that_is_cut_ends_the_task(link: Linked) -> None:
    stream = await start(link, "echo up; sleep 1003")
    await until(stream, b"up")
    assert sleeping("1003")
    await stream.close()
    async with asyncio.timeout(TIMEOUT):
        while sleeping("1003"):  # noqa: ASYNC110 - nothing tells of another process's child
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("pattern", "line", "port"),
    [
        ("ready on", "ready on http://localhost:5173/", 5173),
        ("Local:", r"Local: http://127.0.0.1:\033[1m3000\033[22m/ and more", 3000),
        (r"port=(\d+)", "port=8081 see http://localhost:1/", 8081),
        ("up", "it is up", 0),
        (r"port=(\d+)", "port=99999", 0),
    ],
)
async def test_ready_by_a_line(link: Linked, pattern: str, line: str, port: int) -> None:
    stream = await start(
        link, f"printf 'wait\\n{line}\\nonce more {line}\\n'", ready_pattern=pattern
    )
    _, _, ready = await finish(stream)
    assert ready == [TaskReady(port)]


async def test_ready_by_a_port(link: Linked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    code = (
        "import socket, time\n"
        f"listening = socket.create_server(('127.0.0.1', {port}))\n"
        "time.sleep(1000)"
    )
    stream = await start(link, [sys.executable, "-c", code], ready_port=port)
    async with asyncio.timeout(TIMEOUT):
        while not isinstance(message := await stream.recv(), TaskReady):
            assert isinstance(message, bytes)
    assert message == TaskReady(port)
    await stream.close()


async def test_what_cannot_start_says_why(link: Linked) -> None:
    with pytest.raises(NotFound, match="no-such-program"):
        await start(link, ["no-such-program"])
    with pytest.raises(NotFound, match="missing"):
        await start(link, "true", cwd="missing")
    with pytest.raises(InvalidInput, match="regular expression"):
        await start(link, "true", ready_pattern="(")


def sleeping(seconds: str) -> bool:
    for name in os.listdir("/proc"):
        try:
            if Path(f"/proc/{name}/cmdline").read_bytes() == b"sleep\0%s\0" % seconds.encode():
                return True
        except OSError:
            continue
    return False


# ── inputs ──────────────────────────────────────────────────────────────────────────────────────


def hashed(root: Root, *patterns: str) -> InputsHash:
    return inputs.hash_files(root, patterns)


def test_the_hash_follows_names_and_contents(either_root: Root) -> None:
    root = either_root
    source = root.path / "src" / "deep"
    source.mkdir(parents=True)
    (source / "a.py").write_text("1")
    (root.path / "src" / "b.txt").write_text("2")
    first = hashed(root, "src/**/*.py")
    assert first.files == 1
    (root.path / "src" / "b.txt").write_text("3")
    assert hashed(root, "src/**/*.py") == first
    (source / "a.py").write_text("4")
    changed = hashed(root, "src/**/*.py")
    assert changed.hash != first.hash
    (source / "a.py").rename(source / "c.py")
    assert hashed(root, "src/**/*.py").hash != changed.hash
    (root.path / "src" / "top.py").write_text("")
    assert hashed(root, "src/**/*.py").files == 2


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("a.c", {"a.c"}),
        ("*.c", {"a.c", "b.c"}),
        ("?.c", {"a.c", "b.c"}),
        ("[!a].c", {"b.c"}),
        ("src", {"src/x.c", "src/in/y.c"}),
        ("src/*", {"src/x.c"}),
        ("**/*.c", {"a.c", "b.c", "src/x.c", "src/in/y.c"}),
        ("**/in/**", {"src/in/y.c"}),
        ("node_modules/**", {"node_modules/z.c"}),
        ("missing/**", set()),
        ("missing", set()),
        ("a.c/**", set()),
    ],
)
def test_patterns(root: Root, pattern: str, files: set[str]) -> None:
    for name in ("a.c", "b.c", "src/x.c", "src/in/y.c", "node_modules/z.c"):
        file = root.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    assert set(inputs._matches(root, pattern)) == files


def test_a_link_is_hashed_as_a_link(root: Root, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("1")
    (root.path / "link").symlink_to(secret)
    (root.path / "folder").symlink_to(tmp_path)
    before = hashed(root, "*", "**/*")
    secret.write_text("2")
    assert hashed(root, "*", "**/*") == before
    (root.path / "link").unlink()
    (root.path / "link").symlink_to("elsewhere")
    assert hashed(root, "*").hash != before.hash


def test_a_pattern_that_leads_out_is_refused(root: Root) -> None:
    for pattern in ("../x", "../**"):
        with pytest.raises(Refused):
            hashed(root, pattern)


def test_a_pipe_is_not_waited_for(root: Root) -> None:
    os.mkfifo(root.path / "pipe")
    assert hashed(root, "*").files == 1


def test_too_many_files_are_refused(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs, "FILES_LIMIT", 2)
    for name in "abc":
        (root.path / name).write_text("")
    with pytest.raises(Refused, match="more than 2"):
        hashed(root, "*")
