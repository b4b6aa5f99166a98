"""`devcontainer.json` in a build context: which one, what it says, and where it is wrong.

Places and format: https://containers.dev/implementors/spec/#devcontainerjson.
"""

from __future__ import annotations

import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from cloudide.errors import InvalidInput, TooLarge
from cloudide.project import devcontainer, jsonc
from cloudide.project.places import line_of
from cloudide.project.problems import Mistake

FOLDER = ".devcontainer"
ORDINARY = (f"{FOLDER}/devcontainer.json", ".devcontainer.json")
NAMED = re.compile(rf"{FOLDER}/[^/]+/devcontainer\.json")
EXTRACTED_LIMIT = 32 * 1024 * 1024  # bytes of what the reader is given
ENTRIES_LIMIT = 2000
MISTAKES_SHOWN = 5
LOCAL_FOLDERS = ("${localWorkspaceFolder}",)
# `env` is what `localEnv` was called before.
_LOCAL = re.compile(r"\$\{(?:localEnv|env):([^:}]*)(?::([^}]*))?\}")


class Written(msgspec.Struct, frozen=True):
    """A configuration as it is written. `local`: the variables of a local machine that it asks
    for, as they are written without defaults."""

    path: str
    value: dict[str, Any]
    local: list[str]


def choose(names: Iterable[str], wanted: str) -> str:
    """The configuration to use, of the paths in a context.

    Raises:
        InvalidInput: there is none, or one has to be chosen.
    """
    present = set(names)
    if wanted:
        if wanted not in present:
            raise InvalidInput(f"There is no {wanted} in it.")
        return wanted
    for path in ORDINARY:
        if path in present:
            return path
    named = sorted(path for path in present if NAMED.fullmatch(path))
    if not named:
        raise InvalidInput(
            "It has no configuration of a development container: neither "
            f"{', '.join(ORDINARY)} nor {FOLDER}/NAME/devcontainer.json."
        )
    if len(named) > 1:
        raise InvalidInput(f"It has several configurations; choose one of: {', '.join(named)}.")
    return named[0]


def parse(path: str, content: bytes) -> Written:
    """What a configuration says.

    Raises:
        InvalidInput: each mistake with its line and column.
    """
    if len(content) > devcontainer.FILE_LIMIT:
        raise TooLarge(f"{path} is larger than {devcontainer.FILE_LIMIT // 1024} KiB.")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} is not UTF-8 text; save it as that.") from error
    value, places, mistakes = jsonc.read(text)
    mistakes = mistakes[:1]  # what follows one in the writing is mostly its consequence
    if not mistakes:
        # What means nothing is told beside the result; here is what cannot be used.
        mistakes = [each for each in devcontainer.check(value) if not each.unknown]
    if mistakes:
        shown = [
            _located(path, text, places.span_of(each).start, each)
            for each in mistakes[:MISTAKES_SHOWN]
        ]
        more = len(mistakes) - len(shown)
        raise InvalidInput(" ".join(shown) + (f" And {more} more." if more else ""))
    if "dockerComposeFile" in value:
        at = line_of(text, places.span_of(Mistake("", ("dockerComposeFile",), unknown=True)).start)
        raise InvalidInput(
            f"{path}:{at}: Compose files are not supported. Name an image or a Dockerfile here, "
            "and the other services in cloudide.toml."
        )
    local = {f"${{localEnv:{found[1]}}}" for found in _LOCAL.finditer(text)}
    local |= {name for name in LOCAL_FOLDERS if name in text}
    return Written(path, value, sorted(local))


def _located(path: str, text: str, offset: int, mistake: Mistake) -> str:
    column = offset - text.rfind("\n", 0, offset)
    return f"{path}:{line_of(text, offset)}:{column}: {mistake.message}"


def without_local(value: Any) -> Any:
    """A value with the variables of the local machine put in: their defaults, or nothing."""
    if isinstance(value, str):
        return _LOCAL.sub(lambda found: found[2] or "", value)
    if isinstance(value, dict):
        return {key: without_local(each) for key, each in value.items()}
    if isinstance(value, list):
        return [without_local(each) for each in value]
    return value


class Build(msgspec.Struct, frozen=True):
    """Paths within the context; `context` "" for all of it."""

    dockerfile: str
    context: str
    target: str
    arguments: dict[str, str]


def build_of(path: str, value: dict[str, Any]) -> Build | None:
    """What a configuration is built from; None: from an existing image.

    Raises:
        InvalidInput: a path leads out of the context.
    """
    table = value.get("build") or {}
    name = table.get("dockerfile") or value.get("dockerFile")  # what it was called before
    if not name:
        return None
    context = table.get("context") or value.get("context") or "."
    folder = posixpath.dirname(path)
    return Build(
        dockerfile=_within(folder, str(name), "dockerfile"),
        context=_within(folder, str(context), "context"),
        target=str(table.get("target") or ""),
        arguments={key: str(text) for key, text in (table.get("args") or {}).items()},
    )


def _within(folder: str, path: str, what: str) -> str:
    plain = posixpath.normpath(posixpath.join(folder, path))
    if path.startswith("/") or plain == ".." or plain.startswith("../") or "\\" in path:
        raise InvalidInput(f"build.{what}: {path[:200]!r} leads out of what is built.")
    return "" if plain == "." else plain


def extract(archive: Path, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Write the plain files of a context that are wanted; blocks.

    A context's paths are checked when it is made; links are left out.

    Raises:
        TooLarge: there is more than the reader is given.
    """
    total = count = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if not member.isfile() or not wanted(member.name):
                continue
            total, count = total + member.size, count + 1
            if total > EXTRACTED_LIMIT or count > ENTRIES_LIMIT:
                raise TooLarge(
                    f"{FOLDER} has more than {EXTRACTED_LIMIT // 1024**2} MiB or {ENTRIES_LIMIT} "
                    "files."
                )
            file = tar.extractfile(member)
            assert file is not None
            path = folder / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read())
            path.chmod(0o755 if member.mode & 0o100 else 0o644)
