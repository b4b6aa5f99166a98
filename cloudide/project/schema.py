"""What `cloudide.toml` may hold: the one declaration that validation, completion and hovers use.

Descriptions are for the person who writes the file. Each struct is one kind of table; an unknown
key in it is a mistake.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

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


class Resources(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`resources` of a service: less than what the server allows."""

    cpus: Annotated[float | None, Meta(description="CPUs, such as `0.5`.")] = None
    memory: Annotated[str | None, Meta(description="Memory, such as `512m` or `2g`.")] = None
    processes: Annotated[int | None, Meta(description="Processes and threads.")] = None


class Health(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`health` of a service."""

    command: Annotated[
        list[str] | str,
        Meta(
            description="What is run in the service's container to see whether it works: a line "
            "for its shell, or a list of program and arguments. Exit code 0 says that it does."
        ),
    ]
    interval: Annotated[float, Meta(description="Seconds from one check to the next.")] = 5
    retries: Annotated[int, Meta(description="Failures in a row that make it unhealthy.")] = 5


class ServiceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[services.NAME]`."""

    image: Annotated[
        str,
        Meta(description="The image that it runs, such as `postgres:17`, or one of this server's."),
    ]
    command: Annotated[
        list[str] | str,
        Meta(description="What it runs instead of what its image says; a line is split in words."),
    ] = ""
    env: Annotated[
        dict[str, str],
        Meta(description="Environment variables. Everybody in the workspace can read them."),
    ] = {}
    ports: Annotated[
        list[int],
        Meta(description="The ports it listens on, for whoever reads this: all are reachable."),
    ] = []
    volume: Annotated[
        str,
        Meta(
            description="A folder in its container that is kept for as long as the workspace is, "
            "such as `/var/lib/postgresql/data`."
        ),
    ] = ""
    health: Annotated[
        Health | None,
        Meta(description="How to see whether it works; those that depend on it wait until then."),
    ] = None
    depends_on: Annotated[
        list[str], Meta(description="Services that are started, and healthy, before it.")
    ] = []
    resources: Annotated[
        Resources | None, Meta(description="The most it may use; default: as a workspace.")
    ] = None


class PrebuildTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[prebuild]`."""

    command: Annotated[
        list[str] | str,
        Meta(
            description="What sets the project up ahead of new workspaces, such as `npm ci`: a "
            "line for the shell, or a list of program and arguments. It gets nobody's secrets."
        ),
    ]


class WorkspaceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[workspace]`."""

    image: Annotated[
        str,
        Meta(
            description="The image that workspaces of this project are made from when nobody says "
            "another: `python`, or one of a team such as `crew/tools`."
        ),
    ] = ""
    resources: Annotated[
        Resources | None,
        Meta(description="The most it may use, within what the server allows."),
    ] = None
    secrets: Annotated[
        list[str],
        Meta(
            description="Secrets of the workspace or its team that every terminal asks for: "
            "`NAME`, `NAME@3` for one version, `file:NAME` for a file that `NAME_FILE` leads to. "
            "One is given only if its owner lets programs of this workspace read it."
        ),
    ] = []


class PortTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[ports.N]`."""

    label: Annotated[str, Meta(description="What people call it, such as `Web app`.")] = ""
    visibility: Annotated[
        Literal["private", "members", "team"],
        Meta(
            description="Who sees its preview when the workspace is new, and after somebody "
            "applied this file: those who may run programs, all members, or the team as well. Only "
            "the owner makes one public, in the ports panel."
        ),
    ] = "private"
    on_open: Annotated[
        Literal["notify", "preview", "ignore"],
        Meta(
            description="What happens in people's browsers when something listens on it: they are "
            "told, its preview opens, or nothing."
        ),
    ] = "notify"


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    workspace: Annotated[
        WorkspaceTable | None, Meta(description="What workspaces of this project are like.")
    ] = None
    ports: Annotated[
        dict[str, PortTable],
        Meta(description="Ports that programs here listen on, each a table `[ports.8000]`."),
    ] = {}
    tasks: Annotated[
        dict[str, TaskTable],
        Meta(description="Commands that this project can run, each a table `[tasks.NAME]`."),
    ] = {}
    languages: Annotated[
        dict[str, LanguageTable],
        Meta(description="Language servers, by language: `[languages.NAME]`."),
    ] = {}
    services: Annotated[
        dict[str, ServiceTable],
        Meta(
            description="What runs beside the workspace, each a table `[services.NAME]`: a "
            "container that programs here reach by that name."
        ),
    ] = {}
    prebuild: Annotated[
        PrebuildTable | None, Meta(description="How the project is set up ahead.")
    ] = None
