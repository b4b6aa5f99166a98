"""Capabilities: what a server is told that its one client can do, and what each editor is told.

The multiplexer is a client with more abilities than any editor, so that a server behaves alike
whoever is there; what it then offers is put together, of several servers, and cut down to what the
multiplexer passes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloudide.languages.methods import PROVIDERS

Json = dict[str, Any]

_DYNAMIC = {"dynamicRegistration": True}
_KINDS = list(range(1, 27))
TOKEN_TYPES = [
    *("namespace", "type", "class", "enum", "interface", "struct", "typeParameter", "parameter"),
    *("variable", "property", "enumMember", "event", "function", "method", "macro", "keyword"),
    *("modifier", "comment", "string", "number", "regexp", "operator", "decorator"),
]
TOKEN_MODIFIERS = [
    *("declaration", "definition", "readonly", "static", "deprecated", "abstract", "async"),
    *("modification", "documentation", "defaultLibrary"),
]
# What some editors do not understand, and could not be translated for them without reading each
# completion, is not in it: `itemDefaults` and `insertReplaceSupport`. Nor is the registration of
# what a server can do at once: few editors can be told later, and with that of diagnostics some
# servers publish theirs no longer.
CLIENT: Json = {
    "general": {
        "positionEncodings": ["utf-16"],  # what every editor understands
        "staleRequestSupport": {"cancel": True, "retryOnContentModified": []},
        "markdown": {"parser": "marked"},
    },
    "window": {
        "workDoneProgress": True,
        "showMessage": {"messageActionItem": {"additionalPropertiesSupport": True}},
        "showDocument": {"support": True},
    },
    "workspace": {
        "applyEdit": True,
        "workspaceEdit": {
            "documentChanges": True,
            "resourceOperations": ["create", "rename", "delete"],
            "failureHandling": "transactional",
        },
        "didChangeConfiguration": _DYNAMIC,
        "didChangeWatchedFiles": {"dynamicRegistration": True, "relativePatternSupport": True},
        "symbol": {"resolveSupport": {"properties": ["location.range"]}},
        "executeCommand": {},
        "workspaceFolders": True,
        "configuration": True,
        "semanticTokens": {"refreshSupport": True},
        "codeLens": {"refreshSupport": True},
        "inlayHint": {"refreshSupport": True},
        "diagnostics": {"refreshSupport": True},
    },
    "textDocument": {
        "synchronization": {"didSave": True},
        "completion": {
            "contextSupport": True,
            "completionItem": {
                "snippetSupport": True,
                "commitCharactersSupport": True,
                "documentationFormat": ["markdown", "plaintext"],
                "deprecatedSupport": True,
                "preselectSupport": True,
                "tagSupport": {"valueSet": [1]},
                "labelDetailsSupport": True,
                "resolveSupport": {
                    "properties": ["documentation", "detail", "additionalTextEdits"]
                },
            },
            "completionItemKind": {"valueSet": _KINDS[:25]},
        },
        "hover": {"contentFormat": ["markdown", "plaintext"]},
        "signatureHelp": {
            "contextSupport": True,
            "signatureInformation": {
                "documentationFormat": ["markdown", "plaintext"],
                "parameterInformation": {"labelOffsetSupport": True},
                "activeParameterSupport": True,
            },
        },
        **{
            name: {"linkSupport": True}
            for name in ("declaration", "definition", "typeDefinition", "implementation")
        },
        **{
            name: dict[str, Any]()
            for name in (
                *("references", "documentHighlight", "codeLens", "colorProvider", "formatting"),
                *("rangeFormatting", "onTypeFormatting", "selectionRange", "callHierarchy"),
                *("typeHierarchy", "linkedEditingRange", "inlineValue", "documentLink"),
            )
        },
        "documentSymbol": {
            "symbolKind": {"valueSet": _KINDS},
            "hierarchicalDocumentSymbolSupport": True,
        },
        "codeAction": {
            "isPreferredSupport": True,
            "disabledSupport": True,
            "dataSupport": True,
            "resolveSupport": {"properties": ["edit"]},
            "codeActionLiteralSupport": {
                "codeActionKind": {
                    "valueSet": [
                        *("", "quickfix", "refactor", "refactor.extract", "refactor.inline"),
                        *("refactor.rewrite", "source", "source.organizeImports", "source.fixAll"),
                    ]
                }
            },
        },
        "rename": {"prepareSupport": True},
        "publishDiagnostics": {
            "relatedInformation": True,
            "tagSupport": {"valueSet": [1, 2]},
            "versionSupport": True,
            "codeDescriptionSupport": True,
            "dataSupport": True,
        },
        "diagnostic": {"dynamicRegistration": False, "relatedDocumentSupport": False},
        "foldingRange": {"lineFoldingOnly": False},
        "semanticTokens": {
            "requests": {"range": True, "full": {"delta": True}},
            "tokenTypes": TOKEN_TYPES,
            "tokenModifiers": TOKEN_MODIFIERS,
            "formats": ["relative"],
            "multilineTokenSupport": False,
            "overlappingTokenSupport": False,
        },
        "inlayHint": {
            "resolveSupport": {"properties": ["tooltip", "textEdits", "label.tooltip"]},
        },
    },
}


def declared(capabilities: Json, *names: str) -> Any:
    """A member of an editor's capabilities, however deep; None where it is not."""
    found: Any = capabilities
    for name in names:
        if not isinstance(found, dict):
            return None
        found = found.get(name)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return found


def with_registered(capabilities: Json, registrations: Iterable[Json]) -> Json:
    """A server's capabilities with what it registered all the same."""
    for each in registrations:
        name = PROVIDERS.get(each["method"])
        if name is not None and name not in capabilities:
            capabilities = {**capabilities, name: each.get("registerOptions") or True}
    return capabilities


def offered(servers: list[Json]) -> Json:
    """The capabilities that an editor is told, of those of the servers in order.

    Documents are opened and closed by editors, and changed by the rooms: changes are not asked for.
    Diagnostics are pulled here, once for all, and deltas of semantic tokens stay here.
    """
    merged: Json = {}
    for each in servers:
        for name, value in each.items():
            if value is None or value is False:
                continue
            merged[name] = _both(merged[name], value) if name in merged else value
    for name in ("diagnosticProvider", "notebookDocumentSync", "workspace"):
        merged.pop(name, None)
    merged["textDocumentSync"] = {
        "openClose": True,
        "change": 1,
        "save": {"includeText": False},
    }
    tokens = merged.get("semanticTokensProvider")
    if isinstance(tokens, dict) and tokens.get("full"):  # pyright: ignore[reportUnknownMemberType]
        merged["semanticTokensProvider"] = {**tokens, "full": True}
    return merged


def _both(one: Any, other: Any) -> Any:
    """What two servers offer for one thing: the first's word counts, lists are joined."""
    if one is True:
        return other if isinstance(other, dict) else True  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(one, dict) or not isinstance(other, dict):
        return one
    merged: Json = {**other, **one}  # pyright: ignore[reportUnknownVariableType]
    for name in ("triggerCharacters", "retriggerCharacters", "commands", "codeActionKinds"):
        lists = [each[name] for each in (one, other) if isinstance(each.get(name), list)]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        if lists:
            merged[name] = list(dict.fromkeys(item for each in lists for item in each))  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if one.get("resolveProvider") or other.get("resolveProvider"):  # pyright: ignore[reportUnknownMemberType]
        merged["resolveProvider"] = True
    return merged
