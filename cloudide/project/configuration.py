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
from cloudide.project.schema import FILE, FILE_LIMIT, Configuration, LanguageTable, TaskTable

TABLES_LIMIT = 200  # tasks, and languages
TEXT_LIMIT = 4000  # characters of a command or a value
PATTERN_LIMIT = 500
LIST_LIMIT = 64  # dependencies, input patterns, variables
MISTAKES_LIMIT = 100
TASK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}")
LANGUAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,49}")
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
        line = line_of(text, places.span_of(mistake).start) if places and known else 0
        found.append(Problem(FILE, mistake.message, line))
    return found


def unknown_keys(document: dict[str, Any]) -> list[Mistake]:
    """Mistakes for the top-level keys that mean nothing."""
    known = " and ".join(f"[{key}.…]" for key in Configuration.__struct_fields__)
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
        yield Mistake('This is not a table; write `command = "…"` below it.')
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
    yield from _check_texts("secrets", task.secrets)
    for index, wish in enumerate(task.secrets):
        if not _WISH.fullmatch(wish):
            message = f"secrets: {wish[:KEY_SHOWN]!r} is none of NAME, NAME@3 and file:NAME."
            yield Mistake(message, ("secrets", index))
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
