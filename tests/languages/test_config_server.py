"""Our language server over its two ways: standard input and output, and within our process."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

from cloudide.languages.config.session import Session

TIMEOUT = 20  # seconds


async def test_an_editor_speaks_with_it_over_stdio() -> None:
    """pygls's own client, and the program that a person configures in an editor."""
    client = LanguageClient("test", "1")
    diagnosed: asyncio.Future[lsp.PublishDiagnosticsParams] = asyncio.Future()

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def diagnostics(params: lsp.PublishDiagnosticsParams) -> None:
        diagnosed.set_result(params)

    async with asyncio.timeout(TIMEOUT):
        await client.start_io(sys.executable, "-m", "cloudide", "config-lsp", "--stdio")
        answer = await client.initialize_async(
            lsp.InitializeParams(capabilities=lsp.ClientCapabilities())
        )
        assert answer.server_info is not None
        assert answer.server_info.name == "cloudide-config"
        client.initialized(lsp.InitializedParams())
        uri = "file:///workspace/cloudide.toml"
        text = "[tasks.a]\ncommand = 1\nbackground = \n"
        client.text_document_did_open(
            lsp.DidOpenTextDocumentParams(lsp.TextDocumentItem(uri, "cloudide", 1, text))
        )
        params = await diagnosed
        assert [each.range.start.line for each in params.diagnostics] == [2]  # not TOML there
        found = await client.text_document_completion_async(
            lsp.CompletionParams(lsp.TextDocumentIdentifier(uri), lsp.Position(2, 13))
        )
        assert isinstance(found, list)
        assert [item.label for item in found] == ["true", "false"]
        await client.shutdown_async(None)
        client.exit(None)
        await client.stop()


class Spoken:
    """A session, and what it says."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.session = Session(lambda body: self.messages.put_nowait(json.loads(body)))

    def send(self, method: str, params: object = None, id: int | None = None) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        if id is not None:
            message["id"] = id
        self.session.send(json.dumps(message).encode())

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT):
            return await self.messages.get()


async def test_it_serves_a_workspace_in_our_process(tmp_path: Path) -> None:
    spoken = Spoken()
    root = tmp_path.as_uri()
    spoken.send("initialize", {"processId": None, "rootUri": root, "capabilities": {}}, 1)
    capabilities = (await spoken.next())["result"]["capabilities"]
    assert capabilities["textDocumentSync"]["change"] == 1  # whole texts
    spoken.send("initialized", {})
    uri = f"{root}/cloudide.toml"
    document = {"uri": uri, "languageId": "cloudide", "version": 1, "text": "x = 1\n"}
    spoken.send("textDocument/didOpen", {"textDocument": document})
    published = (await spoken.next())["params"]
    assert published["version"] == 1
    assert "means nothing here" in published["diagnostics"][0]["message"]
    spoken.send(
        "textDocument/didChange",
        {"textDocument": {"uri": uri, "version": 2}, "contentChanges": [{"text": "[tasks.a]\n"}]},
    )
    assert "command is missing" in (await spoken.next())["params"]["diagnostics"][0]["message"]
    options = {"tabSize": 2, "insertSpaces": True}
    spoken.send("textDocument/formatting", {"textDocument": {"uri": uri}, "options": options}, 2)
    assert (await spoken.next())["result"] == []
    spoken.send("textDocument/didClose", {"textDocument": {"uri": uri}})
    assert (await spoken.next())["params"]["diagnostics"] == []
    # `exit` would end the tests.
    spoken.send("shutdown", None, 3)
    assert (await spoken.next())["id"] == 3
    spoken.send("exit")
    spoken.session.close()


async def test_it_never_reads_a_file_of_the_server(tmp_path: Path) -> None:
    secret = tmp_path / "cloudide.toml"
    secret.write_text("[tasks.secret]\ndepends_on = ['']\n[tasks.password]\n")
    spoken = Spoken()
    spoken.send("initialize", {"processId": None, "rootUri": None, "capabilities": {}}, 1)
    await spoken.next()
    place = {"textDocument": {"uri": secret.as_uri()}, "position": {"line": 1, "character": 15}}
    spoken.send("textDocument/completion", place, 2)
    assert (await spoken.next())["result"] == []
    spoken.send("textDocument/hover", place, 3)
    assert (await spoken.next())["result"] is None
    spoken.session.close()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"[]",
        b"1",
        b'{"jsonrpc": "2.0"}',
        b'{"jsonrpc": "2.0", "method": 1}',
        b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": 3}',
        b'{"jsonrpc": "2.0", "id": 9, "result": 1}',
        b"[" * 100_000,
    ],
)
async def test_what_is_no_message_is_dropped(body: bytes) -> None:
    spoken = Spoken()
    spoken.session.send(body)
    spoken.send("initialize", {"processId": None, "rootUri": None, "capabilities": {}}, 2)
    while (await spoken.next()).get("id") != 2:
        pass
    spoken.session.close()
