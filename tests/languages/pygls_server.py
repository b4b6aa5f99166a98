"""A language server on pygls that does what a test asks of it. A program: `pygls_server.py`."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

server = LanguageServer("scripted", "1.0", lsp.TextDocumentSyncKind.Incremental)
kept: list[bytearray] = []


@server.feature(lsp.TEXT_DOCUMENT_HOVER)
def hover(params: lsp.HoverParams) -> lsp.Hover:
    """The hash of the text as it is here."""
    text = server.workspace.text_documents[params.text_document.uri].source
    return lsp.Hover(hashlib.sha256(text.encode()).hexdigest())


@server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
def opened(params: lsp.DidOpenTextDocumentParams) -> None:
    document = params.text_document
    place = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 1))
    server.text_document_publish_diagnostics(
        lsp.PublishDiagnosticsParams(
            document.uri, [lsp.Diagnostic(place, "opened")], document.version
        )
    )


@server.command("noise")
def noise(size: int) -> int:
    """Print much to stderr, and answer all the same."""
    for _ in range(size // 65536):
        sys.stderr.write("x" * 65535 + "\n")
    sys.stderr.write("the end\n")
    sys.stderr.flush()
    return size


@server.command("flood")
def flood(size: int) -> int:
    """Tell all editors something long, and print something."""
    server.protocol.notify("test/flood", {"text": "x" * size})
    return noise(size // 8)


@server.feature(lsp.TEXT_DOCUMENT_RENAME)
def rename(params: lsp.RenameParams) -> lsp.WorkspaceEdit:
    """End in the middle of the answer, or soon after it."""
    text = lsp.TextEdit(lsp.Range(lsp.Position(0, 0), lsp.Position(0, 3)), params.new_name)
    uri = params.text_document.uri
    if params.new_name == "half":
        os.write(1, b'Content-Length: 400\r\n\r\n{"jsonrpc": "2.0", "id": 1, "result": {"chan')
        crash()
    asyncio.get_running_loop().call_later(0.01, crash)
    return lsp.WorkspaceEdit(changes={uri: [text], uri.replace("one", "two"): [text]})


@server.command("crash")
def crash() -> None:
    os._exit(3)


@server.command("hang")
def hang() -> None:
    time.sleep(3600)


@server.command("garbage")
def garbage() -> None:
    os.write(1, b"this is no message\r\n\r\n")


@server.command("eat")
def eat(size: int) -> None:
    kept.append(bytearray(os.urandom(1)) * size)


@server.command("settings")
async def settings(section: str) -> Any:
    """What the client has for a section."""
    items = [lsp.ConfigurationItem(section=section)]
    return (await server.workspace_configuration_async(lsp.ConfigurationParams(items)))[0]


@server.feature(lsp.WORKSPACE_DID_CHANGE_CONFIGURATION)
def configured(params: lsp.DidChangeConfigurationParams) -> None:
    server.protocol.notify("test/configured", {})


@server.command("edit")
def edit(uri: str, text: str) -> Any:
    place = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
    change = lsp.WorkspaceEdit(changes={uri: [lsp.TextEdit(place, text)]})
    server.workspace_apply_edit(lsp.ApplyWorkspaceEditParams(change, "Edit of a test"))


if __name__ == "__main__":
    server.start_io()
