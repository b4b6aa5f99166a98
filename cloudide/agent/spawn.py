"""Starting a program and learning how it ended.

posix_spawn(3) rather than fork: the agent has threads, and Python code between fork and exec may
wait for ever for a lock that one of them held. The working directory is the one thing it cannot
set, so the agent enters it for the length of the call; everything else here works with descriptors
and absolute paths and does not notice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from cloudide.agent import secret_files
from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused, refusal
from cloudide.agent.session import Session
from cloudide.agent.user import find_program
from cloudide.protocol.agent import Exit

IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
PAGE = os.sysconf("SC_PAGE_SIZE")
POLL = 0.02  # seconds between looks at who is left of a session


class Child:
    """A program in a session of its own. `exited` is done when it has ended and been reaped."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._session = Session(pid)
        self._loop = asyncio.get_running_loop()
        self.exited: asyncio.Future[Exit] = self._loop.create_future()
        self.cpu_seconds = 0.0  # of it and its descendants, once it has ended
        try:
            self._pidfd = os.pidfd_open(pid)
        except OSError:  # Linux before 5.3, gVisor
            threading.Thread(target=self._wait, name=f"wait-{pid}", daemon=True).start()
        else:
            self._loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        pid, status, used = os.wait4(self.pid, os.WNOHANG)
        if pid:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._done(status, used.ru_utime + used.ru_stime)

    def _wait(self) -> None:
        _, status, used = os.wait4(self.pid, 0)
        with suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._done, status, used.ru_utime + used.ru_stime)

    def _done(self, status: int, cpu_seconds: float) -> None:
        self.cpu_seconds = cpu_seconds
        code = os.waitstatus_to_exitcode(status)
        if not self.exited.done():
            self.exited.set_result(Exit(code=code) if code >= 0 else Exit(signal=-code))

    def send(self, number: int) -> None:
        """Send a signal to the program and its process group, if it still runs."""
        if not self.exited.done() and number in signal.valid_signals():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def end(self, *steps: tuple[float, Sequence[int]]) -> None:
        """Send the signals of each step to the whole session until nobody is left of it.

        A step is (seconds to wait for an effect, signals).
        """
        for patience, signals in steps:
            deadline = self._loop.time() + patience
            if not self._signal(signals):
                break
            while self._loop.time() < deadline and self._alive():  # noqa: ASYNC110
                await asyncio.sleep(POLL)  # nothing tells when a session is empty
        # What survives SIGKILL sits in the kernel; the program itself is reaped when it leaves it.

    def memory(self) -> int:
        """Bytes of memory that all processes of the session have now (proc(5), statm).

        wait4's own peak is of no use: it counts what the agent had when it started the program.
        """
        pages = 0
        for pid in self._session.members(self.exited.done()):
            with suppress(OSError), open(f"/proc/{pid}/statm") as file:
                pages += int(file.read().split()[1])
        return pages * PAGE

    def _alive(self) -> bool:
        return bool(self._session.members(self.exited.done()))

    def _signal(self, signals: Sequence[int]) -> bool:
        members = self._session.members(self.exited.done())
        for number in signals:
            for pid in members:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        return bool(members)


def spawn(
    root: Root,
    cwd: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    file_actions: list[tuple[Any, ...]],
    files: Mapping[str, str] | None = None,
) -> Child:
    """Start a program in a new session, in a directory beneath the root. `files`: secrets, each
    of which `NAME_FILE` leads to until the program has ended.

    Raises:
        Refused: there is no such program or directory, or it cannot be started.
    """
    if not command or any("\0" in part for part in (*command, *environment.values())):
        raise Refused("invalid", "There is no command, or it holds a NUL character.")
    environment = {**environment, "PWD": str(root.path / cwd)}
    folder = ""
    if files:
        folder, places = secret_files.write(files)
        environment |= places
    try:
        with root.opened(cwd, os.O_PATH | os.O_DIRECTORY) as directory:
            os.fchdir(directory)
            try:
                program = find_program(command[0], environment.get("PATH", ""))
                pid = os.posix_spawn(
                    program,
                    [*command],
                    environment,
                    file_actions=file_actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=IGNORED_BY_PYTHON,
                )
            finally:
                os.chdir("/")
    except BaseException as error:
        secret_files.remove(folder)
        if not isinstance(error, OSError):
            raise
        where = command[0] if error.filename == command[0] else cwd or command[0]
        raise refusal(error, where) from error
    child = Child(pid)
    if folder:
        child.exited.add_done_callback(lambda _: secret_files.remove(folder))
    return child
