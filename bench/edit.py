"""Edit → other client: two clients of one file on loopback, beside three servers of the same kind.

Ours edits a file of a real workspace with its journal on disk; the peers keep documents in memory
and know neither users nor files. One Node.js load client serves all.
"""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from contextlib import AsyncExitStack
from typing import Any

from bench.figures import Report, Series
from bench.serving import (
    BENCH,
    CLIENT_CORE,
    SERVER_CORE,
    authorization,
    cloudide,
    free_port,
    node,
    peer,
    pin,
    python_peer,
)

ROUNDS, EDITS, WARM, PAUSE = 5, 400, 100, 4  # PAUSE: milliseconds between edits
TIMEOUT = 120.0  # seconds for one run of the load client


async def measure(options: Namespace) -> list[Report]:
    rounds, edits = (1, 100) if options.quick else (ROUNDS, EDITS)
    modules = BENCH / "node_modules"
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(cloudide())
        workspace = await server.api.create()
        pin(server.pid, SERVER_CORE)
        ports = [free_port() for _ in range(3)]
        for command, port in zip(
            [
                [node(), str(modules / "@y/websocket-server/src/server.js")],
                python_peer("pycrdt_server.py"),
                [node(), str(BENCH / "peers" / "hocuspocus.mjs")],
            ],
            ports,
            strict=True,
        ):
            await stack.enter_async_context(peer(*command, port=port))

        ours = Series("CloudIDE")
        peers = [
            Series("y-websocket (`@y/websocket-server` 0.1.1)"),
            Series("pycrdt-websocket 0.16.5"),
            Series("Hocuspocus 4.7.0"),
        ]
        durable = Series("CloudIDE, edit → acknowledged as durable", compared=False)
        for number in range(rounds):
            name = f"round-{number}"
            await server.api.write(workspace, f"{name}.txt", "")
            path = f"/api/v1/workspaces/{workspace}/collab/{name}.txt"
            outcome = await load(
                "edits.mjs",
                connection={
                    "url": server.url.replace("http", "ws", 1) + path,
                    "headers": authorization(server),
                    "subprotocols": ["cloudide.collab.v1"],
                },
                edits=edits,
                warm=WARM,
                pause=PAUSE,
            )
            ours.rounds.append(outcome["arrivals"])
            durable.rounds.append(outcome["acknowledgements"])
            for series, port in zip(peers, ports, strict=True):
                connection = {"url": f"ws://127.0.0.1:{port}/{name}"}
                if series is peers[-1]:
                    connection["document"] = name
                outcome = await load(
                    "edits.mjs", connection=connection, edits=edits, warm=WARM, pause=PAUSE
                )
                series.rounds.append(outcome["arrivals"])
    conditions = (
        f"Loopback; server on core {SERVER_CORE}, clients on core {CLIENT_CORE}; {rounds} "
        f"alternating rounds; an edit {PAUSE} ms after the last arrived. CloudIDE with its journal "
        "on disk and the file written to a container; peers in memory."
    )
    return [Report("Edit → other client", conditions, [ours, *peers, durable], target=1.5)]


async def load(script: str, **arguments: Any) -> dict[str, Any]:
    """Run a load client on its core; returns what it printed."""
    process = await asyncio.create_subprocess_exec(
        *("taskset", "--cpu-list", str(CLIENT_CORE), node(), str(BENCH / script)),
        json.dumps(arguments),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{script} failed")
    return json.loads(output)
