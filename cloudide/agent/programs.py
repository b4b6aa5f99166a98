"""Which programs a project and its image have: its own environments first, then the login PATH."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from contextlib import suppress

from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.agent.shell import POSIX, login
from cloudide.agent.spawn import spawn
from cloudide.agent.user import User, find_program
from cloudide.protocol.agent import FindPrograms, Programs

# Where package managers put the programs of a project, in the order in which they are looked into.
OWN = (".venv/bin", "venv/bin", "node_modules/.bin")
PROFILE_TIME = 5.0  # seconds that the profiles of a login shell may take
OUTPUT_LIMIT = 64 * 1024  # bytes
KILL = ((1.0, (9,)),)


async def find(root: Root, user: User, request: FindPrograms) -> Programs:
    """See `protocol.agent.FindPrograms`."""
    path = await login_path(root, user)
    own = [str(root.path / folder) for folder in OWN]
    search = ":".join([*own, path])
    return Programs(path=search, found=dict(_found(request.names, search)))


def _found(names: Iterable[str], path: str) -> Iterable[tuple[str, str]]:
    for name in names:
        if name and "/" not in name and "\0" not in name:
            with suppress(Refused):
                yield name, find_program(name, path)


async def login_path(root: Root, user: User) -> str:
    """The PATH of a terminal's login shell; the agent's own where the profiles do not tell it."""
    path = user.environment["PATH"]
    if os.path.basename(user.shell[0]) not in POSIX:
        return path
    # What profiles print stands before the answer, which is therefore the last line.
    command = login(user.shell, path, ["/bin/sh", "-c", 'printf "\\n%s" "$PATH"'])
    readable, writable = os.pipe()
    try:
        child = spawn(
            root,
            "",
            command,
            user.environment,
            [
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writable, 1),
                (os.POSIX_SPAWN_OPEN, 2, "/dev/null", os.O_WRONLY, 0),
            ],
        )
    except Refused:
        os.close(readable)
        return path
    finally:
        os.close(writable)
    reader = asyncio.StreamReader(limit=OUTPUT_LIMIT)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb", 0)
    )
    output = b""
    try:
        async with asyncio.timeout(PROFILE_TIME):
            while len(output) < OUTPUT_LIMIT and (data := await reader.read(OUTPUT_LIMIT)):
                output += data
    except TimeoutError:
        return path
    finally:
        transport.close()
        await child.end(*KILL)
    answer = output.rpartition(b"\n")[2].decode(errors="replace")
    return answer if answer.startswith("/") else path
