"""A folder or file of a workspace as one archive, made by `tar` in its container as it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from cloudide.agents.link import Agent
from cloudide.errors import NotFound, Unavailable

TIMEOUT = 3600.0  # seconds, for all of it


class NoTar(Unavailable):
    pass


async def packed(agent: Agent, path: str) -> AsyncGenerator[bytes]:
    """A `.tar.gz` of `path`, which is named from the folder that it is in.

    Ending the iteration ends the program.

    Raises:
        NotFound: there is nothing of that name. Unavailable: it cannot be made; before the first
            bytes where that is known by then.
    """
    # tar itself would say so only after the first bytes.
    if path and (await agent.stat([path]))[0] is None:
        raise NotFound(f"There is no {path} in this workspace.")
    folder, _, name = path.rpartition("/")
    command = ["tar", "-c", "-z", "-f", "-", "--", f"./{name}"]
    try:
        # 1: a file changed while it was read, which files do.
        output = agent.output_of(command, cwd=folder, timeout=TIMEOUT, also=(1,))
        async for data in output:
            yield data
    except NotFound as error:
        raise NoTar(
            "This workspace's image has no tar, which downloading a folder needs. Install it, or "
            "download the files one by one."
        ) from error
