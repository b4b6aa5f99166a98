"""What is known of the methods of LSP 3.17: who may, what provides it, how long it may take.

A method that is in none of these tables is passed on by editors' right to write, to the first
server that there is, with the default time-out.
"""

from __future__ import annotations

from typing import Any

DEFAULT_TIMEOUT = 30.0  # seconds
TIMEOUTS = {
    "textDocument/completion": 2.0,
    "completionItem/resolve": 5.0,
    "textDocument/hover": 5.0,
    "textDocument/signatureHelp": 5.0,
    "textDocument/documentHighlight": 5.0,
    "textDocument/prepareRename": 5.0,
    "textDocument/onTypeFormatting": 2.0,
}

# Requests by the capability that provides them; what only looks is for viewers too.
LOOKING = {
    "textDocument/completion": "completionProvider",
    "completionItem/resolve": "completionProvider",
    "textDocument/hover": "hoverProvider",
    "textDocument/signatureHelp": "signatureHelpProvider",
    "textDocument/declaration": "declarationProvider",
    "textDocument/definition": "definitionProvider",
    "textDocument/typeDefinition": "typeDefinitionProvider",
    "textDocument/implementation": "implementationProvider",
    "textDocument/references": "referencesProvider",
    "textDocument/documentHighlight": "documentHighlightProvider",
    "textDocument/documentSymbol": "documentSymbolProvider",
    "textDocument/codeLens": "codeLensProvider",
    "codeLens/resolve": "codeLensProvider",
    "textDocument/documentLink": "documentLinkProvider",
    "documentLink/resolve": "documentLinkProvider",
    "textDocument/documentColor": "colorProvider",
    "textDocument/colorPresentation": "colorProvider",
    "textDocument/foldingRange": "foldingRangeProvider",
    "textDocument/selectionRange": "selectionRangeProvider",
    "textDocument/prepareCallHierarchy": "callHierarchyProvider",
    "callHierarchy/incomingCalls": "callHierarchyProvider",
    "callHierarchy/outgoingCalls": "callHierarchyProvider",
    "textDocument/prepareTypeHierarchy": "typeHierarchyProvider",
    "typeHierarchy/supertypes": "typeHierarchyProvider",
    "typeHierarchy/subtypes": "typeHierarchyProvider",
    "textDocument/semanticTokens/full": "semanticTokensProvider",
    "textDocument/semanticTokens/full/delta": "semanticTokensProvider",
    "textDocument/semanticTokens/range": "semanticTokensProvider",
    "textDocument/linkedEditingRange": "linkedEditingRangeProvider",
    "textDocument/moniker": "monikerProvider",
    "textDocument/inlayHint": "inlayHintProvider",
    "inlayHint/resolve": "inlayHintProvider",
    "textDocument/inlineValue": "inlineValueProvider",
    "textDocument/diagnostic": "diagnosticProvider",
    "workspace/symbol": "workspaceSymbolProvider",
    "workspaceSymbol/resolve": "workspaceSymbolProvider",
}
# What leads to changes: an answer that is made for an older text is refused.
WRITING = {
    "textDocument/codeAction": "codeActionProvider",
    "codeAction/resolve": "codeActionProvider",
    "textDocument/formatting": "documentFormattingProvider",
    "textDocument/rangeFormatting": "documentRangeFormattingProvider",
    "textDocument/onTypeFormatting": "documentOnTypeFormattingProvider",
    "textDocument/prepareRename": "renameProvider",
    "textDocument/rename": "renameProvider",
    "textDocument/willSaveWaitUntil": "textDocumentSync",
    "workspace/executeCommand": "executeCommandProvider",
}
PROVIDERS = LOOKING | WRITING
# Whose answers are edits of documents.
EDITS = {
    "textDocument/formatting",
    "textDocument/rangeFormatting",
    "textDocument/onTypeFormatting",
    "textDocument/rename",
}
# Answers that name places by counting from one to the next: they cannot be taken forward.
COUNTED = {
    "textDocument/semanticTokens/full",
    "textDocument/semanticTokens/range",
}
# Answers that are lists of places, some of which may lie outside the workspace.
PLACES = {
    "textDocument/declaration",
    "textDocument/definition",
    "textDocument/typeDefinition",
    "textDocument/implementation",
    "textDocument/references",
    "textDocument/documentLink",
    "textDocument/prepareCallHierarchy",
    "callHierarchy/incomingCalls",
    "callHierarchy/outgoingCalls",
    "textDocument/prepareTypeHierarchy",
    "typeHierarchy/supertypes",
    "typeHierarchy/subtypes",
    "workspace/symbol",
}
# Lists of several servers that are put one behind the other; of all else the first answer counts.
CONCATENATED = {
    "textDocument/completion",
    "textDocument/codeAction",
    "textDocument/codeLens",
    "textDocument/documentLink",
    "textDocument/inlayHint",
    "textDocument/declaration",
    "textDocument/definition",
    "textDocument/typeDefinition",
    "textDocument/implementation",
    "textDocument/references",
    "workspace/symbol",
}
# What is asked for an item goes to the server that the item came from.
OF_ITEMS = {
    "completionItem/resolve",
    "codeAction/resolve",
    "codeLens/resolve",
    "documentLink/resolve",
    "inlayHint/resolve",
    "workspaceSymbol/resolve",
    "callHierarchy/incomingCalls",
    "callHierarchy/outgoingCalls",
    "typeHierarchy/supertypes",
    "typeHierarchy/subtypes",
}
REFRESHES = {
    "workspace/codeLens/refresh": "codeLens",
    "workspace/semanticTokens/refresh": "semanticTokens",
    "workspace/inlayHint/refresh": "inlayHint",
    "workspace/inlineValue/refresh": "inlineValue",
    "workspace/foldingRange/refresh": "foldingRange",
    "workspace/diagnostic/refresh": "diagnostics",
}


def provides(capabilities: dict[str, Any], registered: set[str], method: str) -> bool:
    """Whether a server answers a method, by its capabilities or by what it registered."""
    name = PROVIDERS.get(method)
    if name is None:
        return True
    offered = capabilities.get(name)
    if method == "textDocument/prepareRename":
        return isinstance(offered, dict) and bool(offered.get("prepareProvider"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    if offered not in (None, False):
        return True
    return method in registered or any(
        PROVIDERS.get(each) == name for each in registered if each in PROVIDERS
    )
