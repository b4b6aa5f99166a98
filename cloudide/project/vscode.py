"""`.vscode/settings.json`: what a project says to language servers, whichever editor is used.

The file is JSON with comments. A key names a section and what is in it by dots, as in
`"python.analysis.typeCheckingMode": "strict"`; a value is taken as it is. Keys in brackets are for
one language's editing, and so none of a server's.
"""

from __future__ import annotations

from typing import Any

from cloudide.project import jsonc
from cloudide.project.places import line_of
from cloudide.project.problems import Problem

FILE = ".vscode/settings.json"
FILE_LIMIT = 256 * 1024  # bytes
PARTS = 16  # of one key
_FOLDERS = ("${workspaceFolder}", "${workspaceRoot}")


def read(content: bytes, folder: str) -> tuple[dict[str, Any], list[Problem]]:
    """The settings as nested tables, the workspace's folder in the place of its variable; and what
    is wrong with the file."""
    if len(content) > FILE_LIMIT:
        return {}, [Problem(FILE, f"The file is larger than {FILE_LIMIT // 1024} KiB.")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return {}, [Problem(FILE, "The file is not UTF-8 text; save it as that.")]
    if not text.strip():
        return {}, []
    value, _, mistakes = jsonc.read(text)
    problems = [
        Problem(FILE, each.message, line_of(text, each.offset) if each.offset >= 0 else 0)
        for each in mistakes[:1]  # the others mostly follow from it
    ]
    if not isinstance(value, dict):
        return {}, problems or [Problem(FILE, "The file is not an object; write `{…}`.")]
    settings: dict[str, Any] = {}
    for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
        name = str(key)  # pyright: ignore[reportUnknownArgumentType]
        parts = name.split(".")
        if not name.startswith("[") and len(parts) <= PARTS:
            _put(settings, parts, _placed(inner, folder))
    return settings, problems


def over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Nested tables merged; what is in both is taken from `above`."""
    merged = dict(below)
    for key, value in above.items():
        former = merged.get(key)
        if isinstance(former, dict) and isinstance(value, dict):
            value = over(former, value)  # pyright: ignore[reportUnknownArgumentType]
        merged[key] = value
    return merged


def _put(settings: dict[str, Any], parts: list[str], value: Any) -> None:
    *way, last = parts
    for part in way:
        inner = settings.get(part)
        if not isinstance(inner, dict):
            inner = settings[part] = {}
        settings = inner  # pyright: ignore[reportUnknownVariableType]
    former = settings.get(last)
    if isinstance(former, dict) and isinstance(value, dict):
        value = over(former, value)  # pyright: ignore[reportUnknownArgumentType]
    settings[last] = value


def _placed(value: Any, folder: str) -> Any:
    if isinstance(value, str):
        for variable in _FOLDERS:
            value = value.replace(variable, folder)
        return value
    if isinstance(value, list):
        return [_placed(each, folder) for each in value]  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, dict):
        return {key: _placed(each, folder) for key, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    return value
