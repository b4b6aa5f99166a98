"""The languages and language servers that CloudIDE knows without being told.

Languages carry the identifiers of LSP 3.17 (TextDocumentItem). Servers stand in the order in which
they are asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

# The ends of names, or whole names, of each language's files.
LANGUAGES: dict[str, tuple[str, ...]] = {
    "python": (".py", ".pyi", ".pyw"),
    "typescript": (".ts", ".mts", ".cts"),
    "typescriptreact": (".tsx",),
    "javascript": (".js", ".mjs", ".cjs"),
    "javascriptreact": (".jsx",),
    "html": (".html", ".htm"),
    "css": (".css",),
    "scss": (".scss",),
    "less": (".less",),
    "json": (".json",),
    "jsonc": (".jsonc", "tsconfig.json", "jsconfig.json", ".code-workspace"),
    "yaml": (".yaml", ".yml"),
    "shellscript": (".sh", ".bash", ".bashrc", ".profile", ".bash_profile", ".bash_aliases"),
    "dockerfile": ("Dockerfile", ".dockerfile", "Containerfile"),
    "c": (".c", ".h"),
    "cpp": (".cc", ".cpp", ".cxx", ".hh", ".hpp", ".hxx", ".ipp", ".inl"),
    "go": (".go",),
    "go.mod": ("go.mod",),
    "markdown": (".md", ".markdown"),
    "cloudide": ("cloudide.toml",),
    "devcontainer": ("devcontainer.json", ".devcontainer.json"),
}


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """A language server. Of its `commands` the first is taken whose program is found and, where
    `versions` asks that of a program, has a good version (major, minor; () if it tells none)."""

    id: str
    name: str
    languages: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...] = ()
    versions: dict[str, Callable[[tuple[int, ...]], bool]] = {}
    settings: dict[str, Any] = {}
    initialization_options: dict[str, Any] = {}
    builtin: bool = False


SERVERS = (
    Known(
        id="basedpyright",
        name="basedpyright",
        languages=("python",),
        commands=(
            ("basedpyright-langserver", "--stdio"),
            ("pyright-langserver", "--stdio"),
            ("pylsp",),
        ),
        # Its own default reports what few projects care for; this is what Pyright does.
        settings={"basedpyright": {"analysis": {"typeCheckingMode": "standard"}}},
    ),
    Known(id="ruff", name="Ruff", languages=("python",), commands=(("ruff", "server"),)),
    Known(
        id="typescript",
        name="TypeScript",
        languages=("typescript", "typescriptreact", "javascript", "javascriptreact"),
        commands=(("tsc", "--lsp", "--stdio"), ("typescript-language-server", "--stdio")),
        versions={"tsc": lambda version: version >= (7, 0)},  # a project's own may be older
        # Else it runs npm in the background, to fetch types for what is imported without any.
        settings={"js/ts": {"disableAutomaticTypeAcquisition": True}},
        initialization_options={"disableAutomaticTypingAcquisition": True},
    ),
    Known(
        id="html",
        name="HTML",
        languages=("html",),
        commands=(("vscode-html-language-server", "--stdio"),),
        initialization_options={"provideFormatter": True},
    ),
    Known(
        id="css",
        name="CSS",
        languages=("css", "scss", "less"),
        commands=(("vscode-css-language-server", "--stdio"),),
        initialization_options={"provideFormatter": True},
        settings={
            "css": {"validate": True},
            "scss": {"validate": True},
            "less": {"validate": True},
        },
    ),
    Known(
        id="json",
        name="JSON",
        languages=("json", "jsonc"),
        commands=(("vscode-json-language-server", "--stdio"),),
        initialization_options={"provideFormatter": True},
        settings={"json": {"validate": {"enable": True}, "format": {"enable": True}}},
    ),
    Known(
        id="yaml",
        name="YAML",
        languages=("yaml",),
        commands=(("yaml-language-server", "--stdio"),),
        # It would tell its vendor how it is used.
        settings={"redhat": {"telemetry": {"enabled": False}}},
    ),
    Known(
        id="bash",
        name="Bash",
        languages=("shellscript",),
        commands=(("bash-language-server", "start"),),
    ),
    Known(
        id="dockerfile",
        name="Dockerfile",
        languages=("dockerfile",),
        commands=(("docker-langserver", "--stdio"),),
    ),
    Known(id="clangd", name="clangd", languages=("c", "cpp"), commands=(("clangd",),)),
    Known(id="gopls", name="gopls", languages=("go", "go.mod"), commands=(("gopls",),)),
    Known(
        id="markdown",
        name="Markdown",
        languages=("markdown",),
        # Not that of VS Code: it has its client read Markdown for it, with a library in JavaScript.
        commands=(("marksman", "server"), ("rumdl", "server")),
        # Paragraphs are mostly written as one line.
        initialization_options={"disableRules": ["MD013"]},
    ),
    Known(id="cloudide", name="CloudIDE", languages=("cloudide", "devcontainer"), builtin=True),
)
