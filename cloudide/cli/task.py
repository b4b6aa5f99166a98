"""`cloudide task`: the tasks of a workspace, run from anywhere as if they ran here."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any
from urllib.parse import quote

import msgspec
import typer
from websockets.exceptions import ConnectionClosed, InvalidStatus

from cloudide.cli.remote import Remote, unreachable
from cloudide.errors import CloudIDEError, Unavailable

OF_A_SIGNAL = 128  # what a shell adds to a signal's number to make an exit code
FAILED = 1
STOPPED = OF_A_SIGNAL + signal.SIGINT


def list_tasks(workspace: str, remote: Remote) -> None:
    """Print a line for each task, and what is wrong with their files on standard error.

    Raises:
        CloudIDEError: the workspace does not run, or there is no such one.
    """
    found = remote.get(f"/api/v1/workspaces/{remote.workspace(workspace)}/tasks")
    width = max((len(task["name"]) for task in found["tasks"]), default=0)
    for task in found["tasks"]:
        last = task.get("last") or {}
        took = f"{last['seconds']:.1f} s" if "seconds" in last else ""
        state = last.get("state", "never run")
        typer.echo(f"{task['name']:{width}}  {state:11}  {took:>9}  {task['source']}")
    for problem in found["problems"]:
        where = f"{problem['file']}:{problem['line']}" if problem["line"] else problem["file"]
        typer.echo(f"cloudide: {where}: {problem['message']}", err=True)


def run_task(workspace: str, name: str, *, force: bool, remote: Remote) -> int:
    """Run a task to its end, its output to ours; returns its exit code, or 128 and the signal.

    An interrupt stops the task. A task that was skipped passed.

    Raises:
        CloudIDEError: it could not be started, or the connection was lost.
    """
    id = remote.workspace(workspace)
    path = f"/api/v1/workspaces/{id}/tasks/{quote(name, safe='')}/runs"
    run = remote.post(path, {"force": force})
    return asyncio.run(_follow(remote, id, run["id"]))


async def _follow(remote: Remote, workspace: str, id: str) -> int:
    loop = asyncio.get_running_loop()
    stopping: set[asyncio.Task[Any]] = set()

    def stop() -> None:
        path = f"/api/v1/workspaces/{workspace}/task-runs/{id}"
        stopping.add(asyncio.create_task(asyncio.to_thread(remote.delete, path)))

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        async with remote.socket(workspace, f"task-runs/{id}") as socket:
            printed = _Printed()
            while True:
                frame = await socket.recv()
                if isinstance(frame, bytes):
                    printed.take(frame)
                    continue
                message = msgspec.json.decode(frame)
                if message["type"] == "replay":
                    printed.replay(message["lost"])
                elif message["type"] == "ended":
                    return _ended(message["run"])
    except ConnectionClosed as closed:
        reason = closed.rcvd.reason if closed.rcvd is not None else ""
        if closed.rcvd is not None and 4400 <= closed.rcvd.code < 4500:
            raise CloudIDEError(reason or None) from closed
        raise Unavailable(
            "The connection was lost; the task goes on if its workspace does."
        ) from closed
    except (OSError, InvalidStatus, TimeoutError) as error:
        raise unreachable(remote, error) from error
    finally:
        # The answer to a stop comes when the task has ended, which is what was waited for.
        await asyncio.gather(*stopping, return_exceptions=True)


class _Printed:
    """What of the output is on our standard output already: a replay may begin with it again."""

    def __init__(self) -> None:
        self._at = 0  # bytes of the task's output that are printed or lost
        self._next = 0  # where the next bytes belong
        self._plain = not sys.stdout.isatty()

    def replay(self, lost: int) -> None:
        if lost > self._at:
            print(f"cloudide: {lost - self._at:,} bytes of output were lost.", file=sys.stderr)
            self._at = lost
        self._next = lost

    def take(self, data: bytes) -> None:
        new = data[max(0, self._at - self._next) :]
        self._next += len(data)
        self._at = max(self._at, self._next)
        # The task had a terminal; who reads a file or a pipe does not want its line ends.
        sys.stdout.buffer.write(new.replace(b"\r\n", b"\n") if self._plain else new)
        sys.stdout.flush()


def _ended(run: dict[str, Any]) -> int:
    if detail := run.get("detail"):
        print(f"cloudide: {run['task']}: {detail}", file=sys.stderr)
    if run["state"] in ("passed", "skipped"):
        return 0
    if run["state"] == "stopped":
        return STOPPED
    exit = run.get("exit", {})
    if "signal" in exit:
        return OF_A_SIGNAL + exit["signal"]
    return exit.get("code") or FAILED
