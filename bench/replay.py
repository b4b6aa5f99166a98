"""Replay of recorded editing sessions through a room, as fast as it takes them.

`--traces` names a folder of `*.json.gz` in the sequential format of the public data set
josephg/editing-traces (CC BY 4.0): `{startContent, endContent, txns: [{patches: [[position,
deleted, inserted], …]}]}`. Sessions of several authors are left out. What the last client sees must
equal `endContent`.
"""

from __future__ import annotations

import gzip
import json
import re
from argparse import Namespace
from pathlib import Path

from bench.clients import load
from bench.figures import Report, Series
from bench.serving import CLIENT_CORE, SERVER_CORE, authorization, cloudide, pin


async def measure(options: Namespace) -> list[Report]:
    traces = sessions(options.traces)
    if options.quick:
        traces = traces[:1]
    series: list[Series] = []
    async with cloudide() as server:
        workspace = await server.api.create()
        pin(server.pid, SERVER_CORE)
        for trace in traces:
            name = trace.name.removesuffix(".json.gz")
            await server.api.write(workspace, f"{name}.txt", "")
            url = f"{server.url}/api/v1/workspaces/{workspace}/collab/{name}.txt"
            outcome = await load(
                "replay.mjs",
                connection={
                    "url": url.replace("http", "ws", 1),
                    "headers": authorization(server),
                    "subprotocols": ["cloudide.collab.v1"],
                },
                trace=str(trace.resolve()),
            )
            rate = outcome["edits"] / outcome["seconds"]
            series.append(
                Series(
                    f"{name}: {outcome['edits']:,} edits at {rate:,.0f}/s, edit → durable",
                    [outcome["acknowledgements"]],
                    compared=False,
                )
            )
    conditions = (
        "Sessions of josephg/editing-traces (CC BY 4.0), at most 200 edits without acknowledgement "
        f"at a time; server on core {SERVER_CORE}, clients on core {CLIENT_CORE}. The other client "
        "ends with the recorded text."
    )
    return [Report("Replay of recorded editing", conditions, series)]


def sessions(folder: Path) -> list[Path]:
    """The recorded sessions of a folder that one author wrote."""
    return [path for path in sorted(folder.glob("*.json.gz")) if _is_sequential(path)]


def _is_sequential(path: Path) -> bool:
    """Whether one author wrote it, in characters that count the same in every unit."""
    text = gzip.decompress(path.read_bytes()).decode()
    trace = json.loads(text)
    astral = re.search("[\U00010000-\U0010ffff]", text) or re.search(r"\\ud[89ab]", text)
    return "parents" not in trace["txns"][0] and astral is None
