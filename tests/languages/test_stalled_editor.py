"""An editor that does not read, while its server prints without end, costs nobody else anything."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path

import psutil
import pytest
from editor import WAIT_SECONDS, Editor
from uncontained import WORKSPACE, Uncontained, uncontained

SERVER = Path(__file__).with_name("pygls_server.py")
MIB = 1024 * 1024
QUEUE = 2 * MIB
ROUNDS = 20
GROWTH = 24 * MIB  # far less than what the silent one was told
LSP = f"/api/v1/workspaces/{WORKSPACE}/lsp/scripted"


async def clients(server: Uncontained) -> int:
    view = await server.api.get(f"/api/v1/workspaces/{WORKSPACE}/languages")
    return next(each["clients"] for each in view["servers"] if each["id"] == "own-scripted")


async def log_of(server: Uncontained) -> str:
    log = await server.api.get(f"/api/v1/workspaces/{WORKSPACE}/languages/own-scripted/log")
    return log["text"]


async def test_an_editor_that_does_not_read_and_a_server_that_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not this machine's shell, whose profile may take its time.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/sh")
    async with uncontained(tmp_path, language_queue=QUEUE) as server:
        command = json.dumps([sys.executable, str(SERVER)])
        table = f'[languages.scripted]\ncommand = {command}\nextensions = [".t"]\n'
        (server.root / "cloudide.toml").write_text(table)
        (server.root / "a.t").write_text("text\n")
        peer = await server.joined("a.t")  # so that the agent is there
        async with (
            server.api.socket(LSP, max_size=None, max_queue=1) as silent,
            server.api.socket(LSP, max_size=None) as socket,
            Editor(socket) as editor,
        ):
            hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize"}
            await silent.send(json.dumps({**hello, "params": {"capabilities": {}}}))
            await silent.recv()
            await editor.initialize()
            uri = f"{server.root.as_uri()}/a.t"
            await editor.open(uri)
            assert await clients(server) == 2
            process = psutil.Process(server.pid)
            before = most = process.memory_info().rss
            for number in range(ROUNDS):
                flood = {"command": "flood", "arguments": [2 * MIB]}
                assert await editor.request("workspace/executeCommand", flood) == MIB // 4
                floods = [n for n in editor.notifications if n["method"] == "test/flood"]
                assert len(floods) == number + 1
                most = max(most, process.memory_info().rss)
            assert most - before <= GROWTH
            async with asyncio.timeout(WAIT_SECONDS):
                while await clients(server) > 1:  # told to whoever asks, and to nobody else
                    pass
            silent.transport.abort()  # else its library would wait for an answer
            await peer.append("more\n")
            await peer.saved()
            place = {"textDocument": {"uri": uri}, "position": {"line": 0, "character": 0}}
            hover = await editor.request("textDocument/hover", place)
            assert hover["contents"] == hashlib.sha256(b"text\nmore\n").hexdigest()
            async with asyncio.timeout(WAIT_SECONDS):
                # What it prints is told a while later, and by another way than its answers.
                while not (await log_of(server)).endswith("the end\n"):
                    pass
        await peer.close()
