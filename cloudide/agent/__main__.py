"""Start the agent: `CLOUDIDE_LINK` is the mounted directory, `CLOUDIDE_ROOT` the workspace."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from pathlib import Path

from cloudide.agent.link import Link


async def run(link_directory: Path, root: Path) -> None:
    """Serve until SIGTERM or SIGINT; then end what runs and return."""
    link = Link(link_directory, root)
    task = asyncio.create_task(link.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger("cloudide.agent").info("Ended.")


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    root = Path(os.environ.get("CLOUDIDE_ROOT", "/workspace"))
    if not root.is_dir():
        sys.stderr.write(f"The workspace's folder {root} does not exist.\n")
        return 1
    # Nothing of what is loaded by now is ever garbage.
    gc.freeze()
    asyncio.run(run(Path(os.environ.get("CLOUDIDE_LINK", "/run/cloudide")), root))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the watching thread has nothing to finish
