"""What `cloudide.toml` may hold: the one declaration that validation, completion and hovers use.

Descriptions are for the person who writes the file. Each struct is one kind of table; an unknown
key in it is a mistake.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

FILE = "cloudide.toml"
FILE_LIMIT = 64 * 1024  # bytes


class TaskTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[tasks.NAME]`."""

    command: Annotated[
        list[str] | str,
        Meta(description="What it runs: a line for the shell, or a list of program and arguments."),
    ]
    cwd: Annotated[
        str,
        Meta(description="The folder of the workspace to run in; default: its root."),
    ] = ""
    env: Annotated[
        dict[str, str],
        Meta(description="Environment variables, beside those of the workspace."),
    ] = {}
    depends_on: Annotated[
        list[str],
        Meta(description="Tasks that have to pass first or, in the background, to be ready."),
    ] = []
    inputs: Annotated[
        list[str],
        Meta(
            description="Patterns of files, from the root, such as `src/**/*.py`: the task is "
            "skipped while these are as they were when it last passed."
        ),
    ] = []
    background: Annotated[
        bool, Meta(description="Whether it runs until it is stopped, as a server does.")
    ] = False
    secrets: Annotated[
        list[str],
        Meta(
            description="Secrets that it asks for, as variables of their names: `NAME`, `NAME@3` "
            "for one version, `file:NAME` for a file that `NAME_FILE` leads to. A secret is given "
            "only if its owner named this task as a reader."
        ),
    ] = []
    ready_when: Annotated[
        str | int,
        Meta(
            description="When a background task is ready: a port that listens, or a regular "
            "expression for a line that it prints. Its preview is opened then."
        ),
    ] = ""


class LanguageTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[languages.NAME]`."""

    command: Annotated[
        list[str] | str | None,
        Meta(
            description="The language server that is used instead of those that CloudIDE knows: "
            "program and arguments, speaking LSP over its input and output. An empty list: none."
        ),
    ] = None
    extensions: Annotated[
        list[str],
        Meta(description="The ends of the names of files in this language, such as `.zig`."),
    ] = []
    settings: Annotated[
        dict[str, Any],
        Meta(
            description="What the language server is told when it asks for its configuration, by "
            "section: `settings.basedpyright.analysis.typeCheckingMode`."
        ),
    ] = {}


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    tasks: Annotated[
        dict[str, TaskTable],
        Meta(description="Commands that this project can run, each a table `[tasks.NAME]`."),
    ] = {}
    languages: Annotated[
        dict[str, LanguageTable],
        Meta(description="Language servers, by language: `[languages.NAME]`."),
    ] = {}
