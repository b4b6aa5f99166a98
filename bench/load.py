"""Acknowledgement under load: 200 clients make 1,000 edits a second; when is each one durable?"""

from __future__ import annotations

from argparse import Namespace

import psutil

from bench.clients import load
from bench.figures import Report, Series
from bench.serving import CLIENT_CORE, SERVER_CORE, authorization, cloudide, pin

ROOMS, CLIENTS_PER_ROOM, RATE, WARM, SECONDS, ROUNDS = 20, 10, 1000, 3, 15, 3


async def measure(options: Namespace) -> list[Report]:
    rounds, seconds = (1, 3) if options.quick else (ROUNDS, SECONDS)
    clients = ROOMS * CLIENTS_PER_ROOM
    async with cloudide(sockets_per_user=2 * clients) as server:
        workspace = await server.api.create()
        pin(server.pid, SERVER_CORE)
        process = psutil.Process(server.pid)
        busy, took = 0.0, 0.0
        durable = Series("edit → acknowledged as durable")
        for number in range(rounds):
            connections: list[tuple[dict[str, object], int]] = []
            for room in range(ROOMS):
                path = f"round-{number}/room-{room}.txt"
                await server.api.write(workspace, path, "")
                url = f"{server.url}/api/v1/workspaces/{workspace}/collab/{path}"
                connection = {
                    "url": url.replace("http", "ws", 1),
                    "headers": authorization(server),
                    "subprotocols": ["cloudide.collab.v1"],
                }
                connections.append((connection, CLIENTS_PER_ROOM))
            before = process.cpu_times()
            outcome = await load(
                "load.mjs", connections=connections, rate=RATE, warm=WARM, seconds=seconds
            )
            after = process.cpu_times()
            busy += after.user + after.system - before.user - before.system
            took += outcome["seconds"] + WARM
            durable.rounds.append(outcome["acknowledgements"])
    conditions = (
        f"{clients} clients in {ROOMS} files, {RATE:,} edits/s in all, {rounds} rounds of "
        f"{seconds} s after {WARM} s to warm up; all clients in one process on core {CLIENT_CORE}, "
        f"the server on core {SERVER_CORE}; each edit goes to {CLIENTS_PER_ROOM - 1} others. "
        f"The server was busy {busy / took:.0%} of the time, joining included. "
        "Promise: p99 ≤ 50 ms."
    )
    return [Report("Acknowledgement under load", conditions, [durable])]
