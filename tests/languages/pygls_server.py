"""A language server on pygls that does what a test asks of it. A program: `pygls_server.py`."""

from __future__ import annotations

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


@server.command("edit")
def edit(uri: str, text: str) -> Any:
    place = lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
    change = lsp.WorkspaceEdit(changes={uri: [lsp.TextEdit(place, text)]})
    server.workspace_apply_edit(lsp.ApplyWorkspaceEditParams(change, "Edit of a test"))


if __name__ == "__main__":
    server.start_io()
