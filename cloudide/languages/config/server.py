"""The configuration language server: LSP methods, on pygls."""

from __future__ import annotations

import asyncio

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

import cloudide
from cloudide.languages.config import answers, formatting
from cloudide.languages.config.documents import Document, format_of

NAME = "cloudide-config"


def create() -> LanguageServer:
    """A server for one connection. It reads no files: it knows what was opened, and nothing else.

    Texts are synchronized whole: these files are short, and pygls counts lines in its own way.
    """
    server = LanguageServer(NAME, cloudide.__version__, lsp.TextDocumentSyncKind.Full)

    def document_of(uri: str) -> Document | None:
        # Not `get_text_document`: for an unknown URI it would read a file of this machine.
        text = server.workspace.text_documents.get(uri)
        if text is None or not format_of(uri):
            return None
        encoding = server.workspace.position_encoding or lsp.PositionEncodingKind.Utf16
        return Document(uri, text.source, str(getattr(encoding, "value", encoding)))

    async def diagnose(uri: str) -> None:
        document = document_of(uri)
        if document is None:
            return
        version = server.workspace.text_documents[uri].version
        found = await asyncio.to_thread(answers.diagnostics, document)
        now = server.workspace.text_documents.get(uri)
        if now is not None and now.version == version:  # else the next one tells
            server.text_document_publish_diagnostics(
                lsp.PublishDiagnosticsParams(uri, found, version)
            )

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    async def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        await diagnose(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    async def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        await diagnose(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(params.text_document.uri, [])
        )

    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION,
        lsp.CompletionOptions(trigger_characters=["[", ".", '"', "=", ":"]),
    )
    async def complete(params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        document = document_of(params.text_document.uri)
        if document is None:
            return []
        offset = document.offset(params.position)
        return await asyncio.to_thread(answers.completions, document, offset)

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    async def hover(params: lsp.HoverParams) -> lsp.Hover | None:
        document = document_of(params.text_document.uri)
        if document is None:
            return None
        offset = document.offset(params.position)
        return await asyncio.to_thread(answers.hover, document, offset)

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    async def define(params: lsp.DefinitionParams) -> lsp.Location | None:
        document = document_of(params.text_document.uri)
        if document is None:
            return None
        offset = document.offset(params.position)
        return await asyncio.to_thread(answers.definition, document, offset)

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    async def form(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit]:
        document = document_of(params.text_document.uri)
        if document is None:
            return []
        size = min(max(params.options.tab_size, 1), 8)
        indent = " " * size if params.options.insert_spaces else "\t"
        return await asyncio.to_thread(formatting.edits, document, indent)

    return server
