"""Running Git in a container, with bounds on time and output."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, Conflict, TooLarge, Unavailable
from cloudide.protocol.agent import STDOUT

READ_LIMIT = 8 * 1024 * 1024  # bytes of output
READ_TIMEOUT = 30.0  # seconds
LINE_LIMIT = 2000  # characters
KEPT_LINES = 8
# What Git prints is read by a program: no colours, no pager, no words of another language; and
# nothing that waits for a person at a keyboard.
ENVIRONMENT = {
    "LC_ALL": "C.UTF-8",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "true",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
}


class GitFailed(Conflict):
    """Git ended with an error; the message is its own."""

    title = "Git could not do this"


async def read(
    agent: Agent,
    arguments: Sequence[str],
    directory: str = "",
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    limit: int = READ_LIMIT,
    timeout: float = READ_TIMEOUT,
    also: Sequence[int] = (),
) -> bytes:
    """What Git prints on its standard output.

    `also`: exit codes other than 0 that are no failure.

    Raises:
        GitFailed: it ended with an error. TooLarge: it printed more than `limit` bytes.
        Unavailable: it took too long, or is not there.
    """
    output = bytearray()
    said = bytearray()

    def take(stream: int, data: bytes) -> None:
        if stream == STDOUT:
            if len(output) + len(data) > limit:
                raise TooLarge("Git had more to say than can be shown here; use a terminal.")
            output.extend(data)
        elif len(said) < LINE_LIMIT:
            said.extend(data[:LINE_LIMIT])

    try:
        ended = await agent.execute(
            ["git", *arguments],
            cwd=directory,
            env={**ENVIRONMENT, **(environment or {})},
            stdin=stdin,
            on_output=take,
            timeout=timeout,
        )
    except TimeoutError as error:
        raise Unavailable(f"Git did not answer within {timeout:.0f} s.") from error
    if ended.code != 0 and ended.code not in also:
        raise GitFailed(_sentence(said.decode(errors="replace").splitlines()))
    return bytes(output)


async def run(
    agent: Agent,
    arguments: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    timeout: float,
) -> None:
    """As `run_program`, of Git."""
    await run_program(agent, ["git", *arguments], directory, environment, tell, timeout)


async def run_program(
    agent: Agent,
    command: Sequence[str],
    directory: str,
    environment: Mapping[str, str],
    tell: Callable[[str], None],
    timeout: float,
) -> None:
    """Run Git, or what uses it, to its end; `tell` gets each line that it prints, progress too.

    Raises:
        GitFailed: its own words say why. Unavailable: it took too long, or is not there.
    """
    lines: list[str] = []
    partial = ""

    def take(_stream: int, data: bytes) -> None:
        nonlocal partial
        # A line of progress ends with \r; each stands for itself.
        *whole, partial = re.split(r"[\r\n]+", partial + data.decode(errors="replace"))
        partial = partial[-LINE_LIMIT:]
        for line in filter(None, (line.strip()[:LINE_LIMIT] for line in whole)):
            lines.append(line)
            del lines[:-KEPT_LINES]
            tell(line)

    try:
        ended = await agent.execute(
            [*command],
            cwd=directory,
            env={**ENVIRONMENT, **environment},
            on_output=take,
            timeout=timeout,
        )
    except TimeoutError as error:
        raise Unavailable(f"Git was not done within {timeout:.0f} s, and was ended.") from error
    except CloudIDEError as error:
        raise Unavailable(f"Git could not be run in the workspace: {error.message}") from error
    if ended.code != 0:
        raise GitFailed(_sentence([*lines, partial]))


def _sentence(lines: Sequence[str]) -> str:
    """What Git said of why it failed: its errors, or else the end of what it said."""
    said = [line.strip() for line in lines if line.strip()]
    marks = ("error:", "fatal:", "remote:", "hint:", " ! [")
    telling = [line for line in said if line.startswith(marks) or "! [" in line]
    words = " ".join(telling or said)[:1000]
    return f"Git said: {words}" if words else "Git ended with an error and said nothing."
