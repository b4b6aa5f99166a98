"""Reading `cloudide.toml`: what of it is good, and what is wrong with the rest.

The file is hostile input: it is bounded, and one wrong table is a mistake of its own that leaves
the others as they are. `schema` says which keys there are and of what type; here is what types
cannot say.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from cloudide.project import toml
from cloudide.project.checking import KEY_SHOWN, mistakes
from cloudide.project.places import line_of
from cloudide.project.problems import Mistake, Problem
from cloudide.project.schema import (
    FILE,
    FILE_LIMIT,
    Configuration,
    LanguageTable,
    PortTable,
    PrebuildTable,
    Resources,
    ServiceTable,
    TaskTable,
    WorkspaceTable,
)

TABLES_LIMIT = 200  # tasks, and languages
TEXT_LIMIT = 4000  # characters of a command or a value
PATTERN_LIMIT = 500
LIST_LIMIT = 64  # dependencies, input patterns, variables
MISTAKES_LIMIT = 100
SERVICES_LIMIT = 10
WISHES_LIMIT = 32  # secrets that one process asks for
LABEL_LIMIT = 60  # characters
SINGLE = ("workspace", "prebuild")  # tables of which there is one
LEAST_MEMORY = 6 << 20  # bytes; the engine takes no less
LEAST_OF_WORKSPACE = 256 << 20  # bytes; with less its own programs do not run
TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")
LANGUAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,49}")
SERVICE_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,28}[a-z0-9])?")
_IMAGE = re.compile(r"(?=.{1,250}$)[a-z0-9][\w.:@/-]*", re.ASCII)
_FOLDER = re.compile(r"(?=.{2,250}$)(?:/(?!\.\.?(?:/|$))[\w.+-]+)+", re.ASCII)
_WISH = re.compile(r"(?:file:)?[A-Za-z_][A-Za-z0-9_]{0,99}(?:@[1-9][0-9]{0,8})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")

Table = TypeVar("Table", bound=msgspec.Struct)


def load(content: bytes) -> tuple[str, dict[str, Any], list[Mistake]]:
    """The file as text and as TOML; empty, with one mistake, when it is not."""
    if len(content) > FILE_LIMIT:
        return "", {}, [Mistake(f"The file is larger than {FILE_LIMIT // 1024} KiB.")]
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return "", {}, [Mistake("The file is not UTF-8 text; save it as that.")]
    if (deep := toml.too_deep(text)) >= 0:
        return text, {}, [Mistake("Its values are nested too deeply.", offset=deep)]
    try:
        return text, tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        found = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", str(error))
        message = str(error)[: found.start()] if found else str(error)
        return text, {}, [Mistake(f"This is not TOML: {message}.", offset=_offset(text, found))]
    except RecursionError:
        return text, {}, [Mistake("Its values are nested too deeply.")]
    except ValueError:
        return text, {}, [Mistake("It has a number with too many digits.")]


def _offset(text: str, found: re.Match[str] | None) -> int:
    if found is None:
        return -1
    if found[1] is None:
        return len(text)
    # tomllib reads "\r\n" as "\n"; lines and columns are the same in both.
    lines = text.split("\n")
    return sum(len(line) + 1 for line in lines[: int(found[1]) - 1]) + int(found[2]) - 1


def problems(text: str, mistakes: Sequence[Mistake]) -> list[Problem]:
    """The mistakes with their lines."""
    places = toml.places(text) if mistakes else None
    found: list[Problem] = []
    for mistake in mistakes:
        known = places and (mistake.path or mistake.offset >= 0)
        if not places or not known:
            found.append(Problem(FILE, mistake.message))
            continue
        start = places.span_of(mistake).start
        column = start - text.rfind("\n", 0, start)
        found.append(Problem(FILE, mistake.message, line_of(text, start), column))
    return found


def unknown_keys(document: dict[str, Any]) -> list[Mistake]:
    """Mistakes for the top-level keys that mean nothing."""
    names = Configuration.__struct_fields__
    known = ", ".join(f"[{key}]" if key in SINGLE else f"[{key}.…]" for key in names)
    message = "{!r} means nothing here; there are tables {}."
    return [
        Mistake(message.format(key[:KEY_SHOWN], known), (key,), unknown=True)
        for key in document
        if key not in Configuration.__struct_fields__
    ][:MISTAKES_LIMIT]


def tasks(document: dict[str, Any]) -> tuple[dict[str, TaskTable], list[Mistake]]:
    """The tasks that are as they should be, in their order, and what is wrong with the others."""
    return _tables(document, "tasks", "test", TaskTable, _check_task)


def languages(document: dict[str, Any]) -> tuple[dict[str, LanguageTable], list[Mistake]]:
    """The languages that are as they should be, and what is wrong with the others."""
    return _tables(document, "languages", "zig", LanguageTable, _check_language)


def services(document: dict[str, Any]) -> tuple[dict[str, ServiceTable], list[Mistake]]:
    """The services that are as they should be, and what is wrong with the others.

    One that depends on what is not there, or in the end on itself, is wrong.
    """
    good, found = _tables(document, "services", "db", ServiceTable, _check_service)
    if len(good) > SERVICES_LIMIT:
        message = f"A workspace has up to {SERVICES_LIMIT} services."
        return {}, [*found, Mistake(message, ("services",))]
    declared = document.get("services", {})
    for name, table in [*good.items()]:
        for index, other in enumerate(table.depends_on):
            path = ("services", name, "depends_on", index)
            if other not in declared:
                message = f"[services.{name}]: there is no service {other[:KEY_SHOWN]!r}."
                found.append(Mistake(message, path))
            elif circle := _circle(name, other, good):
                message = f"[services.{name}]: it depends on itself: {' → '.join(circle)}."
                found.append(Mistake(message, path))
    wrong = {mistake.path[1] for mistake in found if len(mistake.path) > 1}
    return {name: table for name, table in good.items() if name not in wrong}, found


def prebuild(document: dict[str, Any]) -> tuple[PrebuildTable | None, list[Mistake]]:
    """`[prebuild]`, if it is there and as it should be, and what is wrong with it."""
    return _single(document, "prebuild", PrebuildTable, _check_prebuild)


def workspace(document: dict[str, Any]) -> tuple[WorkspaceTable | None, list[Mistake]]:
    """`[workspace]`, if it is there and as it should be, and what is wrong with it."""
    return _single(document, "workspace", WorkspaceTable, _check_workspace)


def ports(document: dict[str, Any]) -> tuple[dict[int, PortTable], list[Mistake]]:
    """The ports that are as they should be, by number, and what is wrong with the others."""
    good, found = _tables(document, "ports", "8000", PortTable, _check_port)
    return {int(name): table for name, table in good.items()}, found


def everything(document: dict[str, Any]) -> list[Mistake]:
    """All that is wrong with a file that is TOML."""
    return [
        *unknown_keys(document),
        *workspace(document)[1],
        *ports(document)[1],
        *tasks(document)[1],
        *languages(document)[1],
        *services(document)[1],
        *prebuild(document)[1],
    ]


def _circle(start: str, through: str, tables: dict[str, ServiceTable]) -> list[str]:
    """The way from a service by one that it depends on back to itself; [] where there is none."""
    ways = [[start, through]]
    seen = {through}
    while ways:
        way = ways.pop()
        if way[-1] == start:
            return way
        following = tables[way[-1]].depends_on if way[-1] in tables else []
        for each in following:
            if each == start or each not in seen:
                seen.add(each)
                ways.append([*way, each])
    return []


def _single(
    document: dict[str, Any],
    section: str,
    kind: type[Table],
    check: Callable[[str, Table], Iterator[Mistake]],
) -> tuple[Table | None, list[Mistake]]:
    if section not in document:
        return None, []
    value = document[section]
    wrong = [
        msgspec.structs.replace(
            each, message=f"[{section}]: {each.message}", path=(section, *each.path)
        )
        for each in _wrong(section, value, kind, check)
    ]
    return (None, wrong[:MISTAKES_LIMIT]) if wrong else (msgspec.convert(value, kind), [])


def _tables(
    document: dict[str, Any],
    section: str,
    example: str,
    kind: type[Table],
    check: Callable[[str, Table], Iterator[Mistake]],
) -> tuple[dict[str, Table], list[Mistake]]:
    tables = document.get(section, {})
    if not isinstance(tables, dict):
        message = f"`{section}` is not a table; write [{section}.{example}]."
        return {}, [Mistake(message, (section,))]
    good: dict[str, Table] = {}
    found: list[Mistake] = []
    for name, value in list(tables.items())[:TABLES_LIMIT]:
        wrong = list(_wrong(name, value, kind, check))
        if not wrong:
            good[name] = msgspec.convert(value, kind)
        for each in wrong:
            message = f"[{section}.{name[:KEY_SHOWN]}]: {each.message}"
            path = (section, name, *each.path)
            found.append(msgspec.structs.replace(each, message=message, path=path))
    if len(tables) > TABLES_LIMIT:
        message = f"Only the first {TABLES_LIMIT} {section} are taken."
        found.append(Mistake(message, (section,)))
    return good, found[:MISTAKES_LIMIT]


def _wrong(
    name: str, value: object, kind: type[Table], check: Callable[[str, Table], Iterator[Mistake]]
) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        key = next(iter(kind.__struct_fields__))
        yield Mistake(f'This is not a table; write `{key} = "…"` below it.')
        return
    if found := list(mistakes(value, kind)):
        yield from found
    else:
        yield from check(name, msgspec.convert(value, kind))


# ── what types cannot say ───────────────────────────────────────────────────────────────────────


def _check_task(name: str, task: TaskTable) -> Iterator[Mistake]:
    if not TASK_NAME.fullmatch(name):
        yield Mistake(
            "A name has up to 100 letters, digits and _ . : / -, a letter or digit first."
        )
    yield from _check_command(task.command)
    if not is_path(task.cwd):
        message = "cwd is a folder of the workspace, without a leading / and `..`."
        yield Mistake(message, ("cwd",))
    for variable in task.env:
        if not _VARIABLE.fullmatch(variable):
            message = f"env: {variable[:KEY_SHOWN]!r} is not the name of a variable."
            yield Mistake(message, ("env", variable))
    yield from _check_texts("env", list(task.env.values()))
    yield from _check_texts("depends_on", task.depends_on)
    yield from _check_texts("inputs", task.inputs)
    for index, pattern in enumerate(task.inputs):
        if not pattern or not is_path(pattern):
            shown = pattern[:KEY_SHOWN]
            message = f"inputs: {shown!r} is not a path of the workspace such as src/**/*.py."
            yield Mistake(message, ("inputs", index))
    yield from _check_wishes(task.secrets)
    yield from _check_ready(task.ready_when)
    if task.ready_when and not task.background:
        message = "ready_when is for background tasks; add `background = true`."
        yield Mistake(message, ("ready_when",))
    if task.background and task.inputs:
        message = "A background task is never skipped, so inputs mean nothing."
        yield Mistake(message, ("inputs",))


def _check_language(name: str, language: LanguageTable) -> Iterator[Mistake]:
    if not LANGUAGE_NAME.fullmatch(name):
        yield Mistake("A name has up to 50 letters, digits and _ . + -, a letter or digit first.")
    if language.command not in (None, []):
        yield from _check_command(language.command)
    if isinstance(language.command, str):
        try:
            shlex.split(language.command)
        except ValueError as error:
            yield Mistake(f"command is not a command line: {error}.", ("command",))
    yield from _check_texts("extensions", language.extensions)
    for index, end in enumerate(language.extensions):
        if not end or "/" in end:
            message = f"extensions: {end[:KEY_SHOWN]!r} is not the end of a name such as .zig."
            yield Mistake(message, ("extensions", index))


def _check_workspace(_: str, table: WorkspaceTable) -> Iterator[Mistake]:
    if table.image and not _IMAGE.fullmatch(table.image):
        message = "image is not the name of an image such as python, or crew/tools."
        yield Mistake(message, ("image",))
    if table.resources is not None:
        yield from _check_resources(table.resources)
        memory = table.resources.memory
        if memory is not None and LEAST_MEMORY <= bytes_of(memory) < LEAST_OF_WORKSPACE:
            yield Mistake("A workspace needs 256m or more.", ("resources", "memory"))
        if table.resources.cpus is not None and 0.01 <= table.resources.cpus < 0.1:
            yield Mistake("A workspace needs 0.1 CPUs or more.", ("resources", "cpus"))
        if table.resources.processes is not None and 1 <= table.resources.processes < 100:
            yield Mistake("A workspace needs 100 processes or more.", ("resources", "processes"))
    yield from _check_wishes(table.secrets)


def _check_port(name: str, table: PortTable) -> Iterator[Mistake]:
    if not (name.isascii() and name.isdigit() and name[0] != "0" and int(name[:6]) < 65536):
        yield Mistake("A port is a number from 1 to 65535, such as [ports.8000].")
    if len(table.label) > LABEL_LIMIT or not table.label.isprintable():
        message = f"label has up to {LABEL_LIMIT} characters that can be printed."
        yield Mistake(message, ("label",))


def _check_wishes(wishes: Sequence[str]) -> Iterator[Mistake]:
    yield from _check_texts("secrets", wishes)
    if len(wishes) > WISHES_LIMIT:
        yield Mistake(f"secrets: there may be {WISHES_LIMIT} of them.", ("secrets",))
    for index, wish in enumerate(wishes):
        if not _WISH.fullmatch(wish):
            message = f"secrets: {wish[:KEY_SHOWN]!r} is none of NAME, NAME@3 and file:NAME."
            yield Mistake(message, ("secrets", index))


def _check_prebuild(_: str, prebuild: PrebuildTable) -> Iterator[Mistake]:
    yield from _check_command(prebuild.command)


def _check_service(name: str, service: ServiceTable) -> Iterator[Mistake]:
    if not SERVICE_NAME.fullmatch(name) or name in ("localhost", "workspace"):
        yield Mistake(
            "A name is a host's: up to 30 of a-z, 0-9 and -, a letter first, and not localhost or "
            "workspace."
        )
    if not _IMAGE.fullmatch(service.image):
        message = "image is not the name of an image such as postgres:17."
        yield Mistake(message, ("image",))
    for variable in service.env:
        if not _VARIABLE.fullmatch(variable):
            message = f"env: {variable[:KEY_SHOWN]!r} is not the name of a variable."
            yield Mistake(message, ("env", variable))
    yield from _check_texts("env", list(service.env.values()))
    yield from _check_texts("depends_on", service.depends_on)
    yield from _check_texts("ports", [str(port) for port in service.ports])
    if service.command:
        yield from _check_command(service.command)
    if isinstance(service.command, str):
        try:
            shlex.split(service.command)
        except ValueError as error:
            yield Mistake(f"command is not a command line: {error}.", ("command",))
    if service.volume and not _FOLDER.fullmatch(service.volume):
        message = "volume is an absolute path of plain names, such as /var/lib/data."
        yield Mistake(message, ("volume",))
    if service.health is not None:
        for mistake in _check_command(service.health.command):
            yield msgspec.structs.replace(mistake, path=("health", "command"))
        if not 1 <= service.health.interval <= 3600:
            yield Mistake("interval is 1 to 3600 seconds.", ("health", "interval"))
        if not 1 <= service.health.retries <= 100:
            yield Mistake("retries is a number from 1 to 100.", ("health", "retries"))
    for index, port in enumerate(service.ports):
        if not 1 <= port <= 65535:
            yield Mistake("ports: a port is a number from 1 to 65535.", ("ports", index))
    if service.resources is not None:
        yield from _check_resources(service.resources)


def _check_resources(resources: Resources) -> Iterator[Mistake]:
    if resources.cpus is not None and not 0.01 <= resources.cpus <= 1024:
        yield Mistake("cpus is a number from 0.01 to 1024.", ("resources", "cpus"))
    if resources.memory is not None and bytes_of(resources.memory) < LEAST_MEMORY:
        message = "memory is 6m or more, a number with k, m or g behind it."
        yield Mistake(message, ("resources", "memory"))
    if resources.processes is not None and not 1 <= resources.processes <= 1_000_000:
        yield Mistake("processes is a number from 1 to 1000000.", ("resources", "processes"))


def bytes_of(memory: str) -> int:
    """How many bytes `512m` are; 0: it is no amount of memory."""
    found = re.fullmatch(r"([1-9][0-9]{0,8})([kmg]?)", memory.lower())
    return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2]] if found else 0


def _check_command(command: str | list[str]) -> Iterator[Mistake]:
    parts = [command] if isinstance(command, str) else command
    if not parts or not parts[0].strip():
        yield Mistake("command is empty; say what it runs.", ("command",))
    yield from _check_texts("command", parts)


def _check_ready(ready: str | int) -> Iterator[Mistake]:
    path = ("ready_when",)
    if isinstance(ready, int):
        if not 1 <= ready <= 65535:
            yield Mistake("ready_when: a port is a number from 1 to 65535.", path)
    elif len(ready) > PATTERN_LIMIT:
        yield Mistake(f"ready_when is longer than {PATTERN_LIMIT} characters.", path)
    else:
        try:
            re.compile(ready)  # only looked at: the agent is who searches with it
        except (re.error, OverflowError, RecursionError) as error:
            yield Mistake(f"ready_when is not a regular expression: {error}.", path)


def _check_texts(key: str, texts: Sequence[str]) -> Iterator[Mistake]:
    if len(texts) > LIST_LIMIT:
        yield Mistake(f"{key} has more than {LIST_LIMIT} parts.", (key,))
    if any(len(text) > TEXT_LIMIT or "\0" in text for text in texts):
        message = f"{key} has a NUL character or more than {TEXT_LIMIT} characters."
        yield Mistake(message, (key,))


def is_path(path: str) -> bool:
    """Whether this is a path of the protocol, patterns included ("" is the root)."""
    parts = path.rstrip("/").split("/") if path else []
    return len(path) <= 1000 and not any(p in ("", ".", "..") or "\0" in p for p in parts)
