"""Which language servers a workspace has: those that are known and found in it, and its own.

A language has an identifier (that of LSP, `TextDocumentItem.languageId`), the ends of its files'
names, and servers in order: the answers of several are merged, the first one's first. A server is
in the catalogue when its program is found in the workspace. `[languages.NAME]` of `cloudide.toml`
adds languages, and says with which server and settings the known ones are served. A server's
settings are those that it needs here, over them what `.vscode/settings.json` says, and over that
the project's `cloudide.toml`.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from typing import Any, Literal

import msgspec

from cloudide.agents.link import Agent
from cloudide.errors import AgentUnavailable, CloudIDEError, NotFound
from cloudide.languages.known import LANGUAGES, SERVERS, Known
from cloudide.project import configuration, vscode
from cloudide.project.problems import Mistake, Problem
from cloudide.project.schema import FILE, FILE_LIMIT, LanguageTable
from cloudide.project.vscode import over
from cloudide.protocol.agent import FindPrograms, Programs

VERSION_TIME = 10.0  # seconds that a program may take to tell its version
VERSION_LIMIT = 4096  # bytes


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """One language server as it is to be started.

    `id` is unique in its workspace. `languages` are LSP's identifiers, `extensions` the ends of the
    names of files it is for. `command` is empty for one that is `builtin`: it runs in our process.
    `environment` is set beside that of the workspace. `settings` is what `workspace/configuration`
    asks for, by section. `sync` "full": it is told whole texts only.
    """

    id: str
    name: str
    languages: list[str]
    extensions: list[str]
    command: list[str]
    environment: dict[str, str] = {}
    settings: dict[str, Any] = {}
    initialization_options: dict[str, Any] = {}
    sync: Literal["incremental", "full"] = "incremental"
    builtin: bool = False


class Catalogue(msgspec.Struct, frozen=True):
    """The servers of a workspace in the order in which they are asked, and what is wrong with its
    configuration. `extensions` maps the ends of names (or whole names) to languages; `hints` says
    how to come by a server for those languages that have none."""

    servers: list[Server]
    extensions: dict[str, str]
    problems: list[Problem]
    hints: dict[str, str] = {}

    def servers_for(self, language: str) -> list[Server]:
        return [server for server in self.servers if language in server.languages]

    def language_of(self, path: str) -> str:
        """The language of a file by its name; "plaintext" of one that nobody knows."""
        name = path.rpartition("/")[2]
        if name in self.extensions:
            return self.extensions[name]
        # The longest end first: of `a.d.ts`, `.d.ts`.
        ends = [name[at:] for at, letter in enumerate(name) if letter == "."]
        return next((self.extensions[end] for end in ends if end in self.extensions), "plaintext")


async def catalogue(agent: Agent) -> Catalogue:
    """Look at what the workspace has. What is wrong with its configuration is told, never raised.

    Raises:
        AgentUnavailable: the workspace does not run.
    """
    text, tables, mistakes = await _configured(agent)
    settings, wrong = await _settings(agent)
    commands = {name: words for name, table in tables.items() if (words := _words(table))}
    names = {command[0] for known in SERVERS for command in known.commands}
    names |= {words[0] for words in commands.values()}
    programs: Programs = await agent.call(FindPrograms(sorted(names)))
    found = await _found(agent, programs)
    for language, words in commands.items():
        if "/" not in words[0] and words[0] not in programs.found:
            message = f"The program {words[0]!r} is not installed in this workspace."
            path = ("languages", language, "command")
            mistakes.append(Mistake(f"[languages.{language}]: {message}", path))
    problems = await asyncio.to_thread(configuration.problems, text, mistakes)
    return _merged(tables, commands, programs, found, settings, [*problems, *wrong])


async def _configured(agent: Agent) -> tuple[str, dict[str, LanguageTable], list[Mistake]]:
    try:
        content = (await agent.read(FILE, FILE_LIMIT)).content or b""
    except NotFound:
        return "", {}, []
    except AgentUnavailable:
        raise
    except CloudIDEError as error:
        return "", {}, [Mistake(error.message)]
    # Beside the loop: a hostile file may be slow to read.
    return await asyncio.to_thread(_parse, content)


async def _settings(agent: Agent) -> tuple[dict[str, Any], list[Problem]]:
    try:
        content = (await agent.read(vscode.FILE, vscode.FILE_LIMIT)).content or b""
    except NotFound:
        return {}, []
    except AgentUnavailable:
        raise
    except CloudIDEError as error:
        return {}, [Problem(vscode.FILE, error.message)]
    return await asyncio.to_thread(vscode.read, content, agent.hello.root)


def _parse(content: bytes) -> tuple[str, dict[str, LanguageTable], list[Mistake]]:
    text, document, mistakes = configuration.load(content)
    tables, wrong = configuration.languages(document)
    return text, tables, [*mistakes, *wrong]


def _words(table: LanguageTable) -> list[str]:
    command = table.command
    return shlex.split(command) if isinstance(command, str) else [*(command or [])]


async def _found(agent: Agent, programs: Programs) -> dict[str, list[str]]:
    """The command of each known server that is there, by its id."""

    async def look(known: Known) -> list[str]:
        for command in known.commands:
            program = programs.found.get(command[0], "")
            if not program:
                continue
            wanted = known.versions.get(command[0])
            if wanted is None or wanted(await _version(agent, program, programs.path)):
                return [program, *command[1:]]
        return []

    commands = await asyncio.gather(*(look(known) for known in SERVERS))
    return {known.id: command for known, command in zip(SERVERS, commands, strict=True) if command}


async def _version(agent: Agent, program: str, path: str) -> tuple[int, ...]:
    """The first version number that `program --version` prints; () if it does not."""
    output = bytearray()

    def keep(_: int, data: bytes) -> None:
        if len(output) < VERSION_LIMIT:
            output.extend(data)

    try:
        await agent.execute(
            [program, "--version"], env={"PATH": path}, on_output=keep, timeout=VERSION_TIME
        )
    except AgentUnavailable:
        raise
    except (CloudIDEError, TimeoutError):
        return ()
    number = re.search(rb"(\d{1,6})\.(\d{1,6})", output[:VERSION_LIMIT])
    return (int(number[1]), int(number[2])) if number else ()


def _merged(
    tables: dict[str, LanguageTable],
    commands: dict[str, list[str]],
    programs: Programs,
    found: dict[str, list[str]],
    written: dict[str, Any],
    problems: list[Problem],
) -> Catalogue:
    extensions = {end: language for language, ends in LANGUAGES.items() for end in ends}
    for language, table in tables.items():
        extensions |= dict.fromkeys(table.extensions, language)
    environment = {"PATH": programs.path}
    replaced = {language for language, table in tables.items() if table.command is not None}
    servers: list[Server] = []
    for known in SERVERS:
        languages = [each for each in known.languages if each not in replaced]
        if not languages or not (known.builtin or known.id in found):
            continue
        settings = over(known.settings, known.translate(written))
        for language in languages:
            if language in tables:
                settings = over(settings, tables[language].settings)
        servers.append(
            Server(
                id=known.id,
                name=known.name,
                languages=languages,
                extensions=_ends(extensions, languages),
                command=found.get(known.id, []),
                environment={} if known.builtin else environment,
                settings=settings,
                initialization_options=known.options(settings),
                builtin=known.builtin,
            )
        )
    for language, words in commands.items():
        program = words[0] if "/" in words[0] else programs.found.get(words[0], "")
        if not program:
            continue
        servers.append(
            Server(
                id=f"own-{language}",
                name=words[0].rpartition("/")[2],
                languages=[language],
                extensions=_ends(extensions, [language]),
                command=[program, *words[1:]],
                environment=environment,
                settings=over(written, tables[language].settings),
            )
        )
    served = {language for server in servers for language in server.languages}
    hints = {
        language: known.install
        for known in reversed(SERVERS)  # the first one counts
        for language in known.languages
        if known.install and language not in served | replaced
    }
    return Catalogue(servers, extensions, problems, hints)


def _ends(extensions: dict[str, str], languages: list[str]) -> list[str]:
    return [end for end, language in extensions.items() if language in languages]
