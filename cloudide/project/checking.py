"""Everything that is wrong with a value, told by the type it should have.

`msgspec.convert` stops at its first mistake; a person who edits a file wants to see them all, each
where it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec

from cloudide.project.problems import Key, Mistake

KEY_SHOWN = 100  # characters
_PATH = re.compile(r" - at `(?:key in )?\$[^`]*`$")


def mistakes(value: object, kind: Any, path: tuple[Key, ...] = ()) -> Iterator[Mistake]:
    """What keeps `value` from being a `kind` (a type that msgspec knows), in the order of its keys.

    A key that a struct does not have is a mistake where the struct forbids it; one that is missing
    is a mistake of the table it belongs in.
    """
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if type(None) in get_args(kind) and len(get_args(kind)) == 2 and value is not None:
        kind = next(each for each in get_args(kind) if each is not type(None))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and isinstance(value, dict):
        yield from _of_struct(value, kind, path)
    elif get_origin(kind) is dict and isinstance(value, dict):
        for key, item in value.items():
            yield from mistakes(item, get_args(kind)[1], (*path, key))
    elif get_origin(kind) is list and isinstance(value, list):
        for index, item in enumerate(value):
            yield from mistakes(item, get_args(kind)[0], (*path, index))
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            name = ".".join(str(part) for part in path)[:KEY_SHOWN] or "It"
            yield Mistake(f"{name}: {_PATH.sub('', str(error))}.", path)


def _of_struct(
    value: dict[str, Any], kind: type[msgspec.Struct], path: tuple[Key, ...]
) -> Iterator[Mistake]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, item in value.items():
        if key in fields:
            yield from mistakes(item, fields[key].type, (*path, key))
        elif kind.__struct_config__.forbid_unknown_fields:
            message = f"There is no key {key[:KEY_SHOWN]!r}; there are {', '.join(fields)}."
            yield Mistake(message, (*path, key), unknown=True)
    for name, field in fields.items():
        if field.required and name not in value:
            yield Mistake(f"The key {name} is missing.", path)
