"""Runs of tasks, with a real agent: order, ends, skips, readiness, sharing, restarts."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from linked import TIMEOUT
from task_bench import Bench, ended

from cloudide.channel import Channel, Frame
from cloudide.errors import AgentUnavailable, Conflict, InvalidInput, NotFound, TooMany
from cloudide.tasks.records import OUTPUTS_KEPT, RUNS_KEPT


async def test_a_run_is_kept_with_what_it_cost_and_compared(bench: Bench) -> None:
    bench.define("[tasks.hello]\ncommand = 'echo hello'\n")
    first = await bench.run("hello")
    assert (first["state"], first["exit"], first["person"]) == ("passed", {"code": 0}, "Ada")
    assert first["seconds"] < 10
    assert first["cpu_seconds"] >= 0
    assert "previous" not in first
    assert await bench.printed(first["id"]) == b"hello\r\n"
    second = await bench.run("hello")
    assert second["previous"]["id"] == first["id"]
    assert second["previous"]["seconds"] == first["seconds"]
    listed = (await bench.tasks.list("one"))["tasks"][0]
    assert listed["last"]["id"] == second["id"]
    assert listed["last"]["previous"]["id"] == first["id"]
    runs = await bench.tasks.runs("one", "hello")
    assert [run["id"] for run in runs] == [second["id"], first["id"]]


async def test_exit_code_and_signal_apart(bench: Bench) -> None:
    bench.define("[tasks.code]\ncommand = 'exit 3'\n[tasks.signal]\ncommand = 'kill -9 $$'\n")
    code = await bench.run("code")
    assert (code["state"], code["exit"]) == ("failed", {"code": 3})
    killed = await bench.run("signal")
    assert (killed["state"], killed["exit"]) == ("failed", {"signal": 9})


async def test_what_cannot_start_failed_and_says_why(bench: Bench) -> None:
    bench.define("[tasks.a]\ncommand = ['no-such-program']\n[tasks.b]\ncommand='x'\ncwd='gone'\n")
    run = await bench.run("a")
    assert run["state"] == "failed"
    assert "'no-such-program' is not installed" in run["detail"]
    assert "gone" in (await bench.run("b"))["detail"]


async def test_dependencies_run_first_and_a_failure_cancels(bench: Bench) -> None:
    bench.define(
        "[tasks.a]\ncommand = 'echo a >> log'\n"
        "[tasks.b]\ncommand = 'echo b >> log'\ndepends_on = ['a']\n"
        "[tasks.c]\ncommand = 'echo c >> log; false'\ndepends_on = ['b']\n"
        "[tasks.d]\ncommand = 'echo d >> log'\ndepends_on = ['c', 'a']\n"
    )
    run = await bench.run("d")
    assert (bench.link.root / "log").read_text().split() == ["a", "b", "c"]
    assert run["state"] == "cancelled"
    assert "'c', which it depends on, failed" in run["detail"]
    states = {r["task"]: r["state"] for r in await bench.tasks.runs("one", "")}
    assert states == {"a": "passed", "b": "passed", "c": "failed", "d": "cancelled"}
    assert len({r["batch"] for r in await bench.tasks.runs("one", "")}) == 1


async def test_unknown_and_cyclic_tasks_are_refused(bench: Bench) -> None:
    bench.define(
        "[tasks.a]\ncommand = 'x'\ndepends_on = ['b']\n"
        "[tasks.b]\ncommand = 'x'\ndepends_on = ['a']\n[tasks.bad]\ncomand = 'x'\n"
    )
    with pytest.raises(InvalidInput, match="a → b → a"):
        await bench.start("a")
    with pytest.raises(NotFound, match=r"'bad'.*cloudide\.toml has a problem.*'comand'"):
        await bench.start("bad")
    assert await bench.tasks.runs("one", "") == []


async def test_edits_are_flushed_before_anything_is_read(bench: Bench) -> None:
    # What somebody typed last is the definition itself.
    bench.on_flush = lambda: bench.define("[tasks.late]\ncommand = 'echo typed'\n")
    run = await bench.run("late")
    assert await bench.printed(run["id"]) == b"typed\r\n"
    assert bench.flushes == 2


async def test_unchanged_inputs_are_skipped(bench: Bench) -> None:
    root = bench.link.root
    (root / "in.txt").write_text("1")
    define = "[tasks.build]\ncommand = 'echo {}; test ! -e broken'\ninputs = ['*.txt']\n"
    bench.define(define.format("one"))
    assert (await bench.run("build"))["state"] == "passed"
    skipped = await bench.run("build")
    assert skipped["state"] == "skipped"
    assert "inputs have not changed since it passed" in skipped["detail"]
    # A skipped run passes for whoever depends on it, and forcing runs it.
    assert (await bench.run("build", force=True))["state"] == "passed"
    (root / "in.txt").write_text("2")
    assert (await bench.run("build"))["state"] == "passed"
    bench.define(define.format("another command"))
    assert (await bench.run("build"))["state"] == "passed"
    # What failed with these inputs since is not known to pass.
    (root / "broken").write_text("")
    assert (await bench.run("build", force=True))["state"] == "failed"
    (root / "broken").unlink()
    assert (await bench.run("build"))["state"] == "passed"
    assert (await bench.run("build"))["state"] == "skipped"


async def test_what_was_skipped_takes_no_place_of_an_output(bench: Bench) -> None:
    (bench.link.root / "in.txt").write_text("1")
    bench.define("[tasks.build]\ncommand = 'echo built'\ninputs = ['*.txt']\n")
    built = await bench.run("build")
    skipped = [await bench.run("build") for _ in range(OUTPUTS_KEPT + 1)]
    assert await bench.printed(skipped[-1]["id"]) == b""
    assert await bench.printed(built["id"]) == b"built\r\n"


async def test_a_skipped_step_counts_as_passed(bench: Bench) -> None:
    (bench.link.root / "in.txt").write_text("1")
    bench.define(
        "[tasks.build]\ncommand = 'true'\ninputs = ['in.txt']\n"
        "[tasks.test]\ncommand = 'true'\ndepends_on = ['build']\n"
    )
    await bench.run("test")
    assert (await bench.run("test"))["state"] == "passed"
    assert [r["state"] for r in await bench.tasks.runs("one", "build")] == ["skipped", "passed"]


async def test_a_background_task_is_ready_and_opens_its_preview(bench: Bench) -> None:
    bench.define(
        "[tasks.serve]\ncommand = 'echo on http://localhost:4321/; sleep 100'\n"
        "background = true\nready_when = 'on http'\n"
        "[tasks.test]\ncommand = 'true'\ndepends_on = ['serve']\n"
    )
    assert (await bench.run("test"))["state"] == "passed"
    serve = await bench.until(lambda run: run["task"] == "serve" and run.get("ready", False))
    assert serve["port"] == 4321
    assert bench.previews == [("serve", 4321)]
    assert bench.tasks.running("one") == []
    # It is shared by whoever depends on it next.
    assert (await bench.run("test"))["state"] == "passed"
    assert len(await bench.tasks.runs("one", "serve")) == 1
    stopped = await bench.tasks.stop("one", serve["id"])
    assert (stopped["state"], stopped["exit"]) == ("stopped", {"signal": 1})


async def test_a_background_task_that_ends_before_it_is_ready(bench: Bench) -> None:
    bench.define(
        "[tasks.serve]\ncommand = 'exit 1'\nbackground = true\nready_when = 'never'\n"
        "[tasks.test]\ncommand = 'true'\ndepends_on = ['serve']\n"
    )
    run = await bench.run("test")
    assert run["state"] == "cancelled"


async def test_stopping_ends_all_that_was_started_for_it(bench: Bench) -> None:
    bench.define(
        "[tasks.slow]\ncommand = 'echo up; sleep 100'\n"
        "[tasks.then]\ncommand = 'true'\ndepends_on = ['slow']\n"
    )
    view = await bench.start("then")
    await bench.until(lambda run: run["task"] == "slow" and run["state"] == "running")
    assert set(bench.tasks.running("one")) == {"slow", "then"}
    assert (await bench.tasks.stop("one", view["id"]))["state"] == "stopped"
    states = {run["task"]: run["state"] for run in await bench.tasks.runs("one", "")}
    assert states == {"slow": "stopped", "then": "stopped"}
    assert bench.tasks.running("one") == []
    with pytest.raises(Conflict, match="ended already"):
        await bench.tasks.stop("one", view["id"])
    with pytest.raises(NotFound):
        await bench.tasks.stop("one", "r00")
    with pytest.raises(NotFound):
        await bench.tasks.stop("two", view["id"])


async def test_one_task_runs_once_at_a_time(bench: Bench) -> None:
    bench.define("[tasks.slow]\ncommand = 'sleep 100'\n")
    answers = await asyncio.gather(*(bench.start("slow") for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(answer, dict) for answer in answers) == 1
    assert sum(isinstance(answer, Conflict) for answer in answers) == 4


async def test_no_more_run_than_the_limit(bench: Bench) -> None:
    bench.define("".join(f"[tasks.t{n}]\ncommand = 'sleep 100'\n" for n in range(9)))
    for n in range(8):
        await bench.start(f"t{n}")
    with pytest.raises(TooMany, match="At most 8"):
        await bench.start("t8")


async def test_a_cut_link_interrupts(bench: Bench) -> None:
    bench.define("[tasks.slow]\ncommand = 'echo up; sleep 100'\n")
    view = await bench.start("slow")
    await bench.until(lambda run: run["state"] == "running")
    await bench.link.stop()
    run = await bench.until(lambda run: run["id"] == view["id"] and ended(run))
    assert run["state"] == "interrupted"
    assert "not known" in run["detail"]
    with pytest.raises(AgentUnavailable):
        await bench.start("slow")


async def test_a_restart_of_the_server_is_told(bench: Bench) -> None:
    bench.define("[tasks.slow]\ncommand = 'sleep 100'\n")
    view = await bench.start("slow")
    await bench.until(lambda run: run["state"] == "running")
    async with bench.anew() as again:  # the former one has said nothing to the database
        (run,) = await again.runs("one", "slow")
    assert (run["id"], run["state"]) == (view["id"], "interrupted")
    assert "restarted" in run["detail"]


async def test_the_end_of_much_output_is_kept_and_the_rest_counted(bench: Bench) -> None:
    bench.define("[tasks.much]\ncommand = 'seq 1 1000'\n")
    run = await bench.run("much")
    total = sum(len(f"{n}\r\n") for n in range(1, 1001))
    content, lost = await bench.tasks.output("one", run["id"])
    assert lost == run["lost"] == total - len(content)
    assert content.endswith(b"\r\n999\r\n1000\r\n")
    assert content.split(b"\r\n")[0] in {str(n).encode() for n in range(1000)}
    assert 990 < len(content) < 1000


async def test_only_the_last_runs_and_outputs_are_kept(bench: Bench) -> None:
    bench.define("[tasks.a]\ncommand = 'echo'\n")
    ids = [(await bench.run("a"))["id"] for _ in range(RUNS_KEPT + 2)]
    kept = [run["id"] for run in await bench.tasks.runs("one", "a")]
    assert kept == ids[: -RUNS_KEPT - 1 : -1]
    await bench.printed(ids[-OUTPUTS_KEPT])
    with pytest.raises(NotFound, match="no longer kept"):
        await bench.printed(ids[-OUTPUTS_KEPT - 1])


class Wire:
    """Takes frames until it is told to be full."""

    direct = None
    unsent = 0

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def write(self, frame: Frame) -> None:
        self.frames.append(frame)

    def close(self, code: int, reason: str) -> None:
        self.closed.set_result(code)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.frames if isinstance(frame, str)]

    @property
    def content(self) -> bytes:
        return b"".join(frame for frame in self.frames if isinstance(frame, bytes))


async def test_who_looks_sees_past_present_and_end(bench: Bench) -> None:
    bench.define(
        "[tasks.a]\ncommand = 'echo one; while [ ! -e go ]; do sleep 0.05; done; echo two'"
    )
    id = (await bench.start("a"))["id"]
    await bench.until(lambda run: run["state"] == "running")
    wire = Wire()
    await bench.tasks.look("one", id, Channel(wire, 10_000))
    (bench.link.root / "go").write_text("")
    async with asyncio.timeout(TIMEOUT):
        assert await wire.closed == 1000
    assert wire.content == b"one\r\ntwo\r\n"
    assert [message["type"] for message in wire.messages] == ["replay", "ready", "ended"]
    assert wire.messages[-1]["run"]["state"] == "passed"
    late = Wire()
    await bench.tasks.look("one", id, Channel(late, 10_000))
    assert late.frames == [late.frames[0], wire.content, late.frames[2], wire.frames[-1]]


async def test_a_slow_reader_is_shown_the_end_again(bench: Bench) -> None:
    bench.define("[tasks.a]\ncommand = 'while [ ! -e go ]; do sleep 0.05; done; seq 1 5000'")
    id = (await bench.start("a"))["id"]
    wire = Wire()
    channel = Channel(wire, 500)
    await bench.tasks.look("one", id, channel)
    channel.pause()
    (bench.link.root / "go").write_text("")
    await bench.until(lambda run: run["id"] == id and ended(run))
    # It was never sent more than is kept, and its end is the end.
    assert channel.queued <= 500 + 1000
    assert wire.closed.done()


async def test_a_file_that_is_too_large_is_told(bench: Bench) -> None:
    bench.define("# " + "x" * 70_000)
    (bench.link.root / "Makefile").write_text("all:\n" + "#" * 600_000)
    (bench.link.root / "package.json").write_text('{"scripts": {"dev": "x"}}')
    listed = await bench.tasks.list("one")
    assert [task["name"] for task in listed["tasks"]] == ["npm:dev"]
    told = {problem.file: problem.message for problem in listed["problems"]}
    assert "larger than 64 KiB" in told["cloudide.toml"]
    assert "larger than 512 KiB" in told["Makefile"]
