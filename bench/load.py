"""Acknowledgement under load: 200 clients make 1,000 edits a second; when is each one durable?"""

from __future__ import annotations

from argparse import Namespace

from bench.edit import load
from bench.figures import Report, Series
from bench.serving import CLIENT_CORE, SERVER_CORE, authorization, cloudide, pin

ROOMS, CLIENTS_PER_ROOM, RATE, SECONDS, ROUNDS = 20, 10, 1000, 15, 3


async def measure(options: Namespace) -> list[Report]:
    rounds, seconds = (1, 3) if options.quick else (ROUNDS, SECONDS)
    clients = ROOMS * CLIENTS_PER_ROOM
    async with cloudide(sockets_per_user=2 * clients) as server:
        workspace = await server.api.create()
        pin(server.pid, SERVER_CORE)
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
            outcome = await load("load.mjs", connections=connections, rate=RATE, seconds=seconds)
            durable.rounds.append(outcome["acknowledgements"])
    conditions = (
        f"{clients} clients in {ROOMS} files, {RATE:,} edits/s in all, {rounds} rounds of "
        f"{seconds} s; all clients in one process on core {CLIENT_CORE}, the server on core "
        f"{SERVER_CORE}; each edit goes to {CLIENTS_PER_ROOM - 1} others. Promise: p99 ≤ 50 ms."
    )
    return [Report("Acknowledgement under load", conditions, [durable])]
