"""Reading a Dockerfile, as far as a build has to know it before the engine does. Pure.

The grammar is that of https://docs.docker.com/reference/dockerfile/: one instruction a line, lines
are continued by the escape character, comments and blank lines within are left out.

What is looked at: the images it is built from, so that a team builds from what it may; and
`RUN --mount=type=secret`, which the engine's classic builder does not know (see `steps.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cloudide.errors import InvalidInput

SIZE_LIMIT = 256 * 1024  # bytes
_DIRECTIVE = re.compile(r"#\s*(\w+)\s*=\s*(\S+)\s*")
_FROM = re.compile(r"(?P<options>(?:--\S+\s+)*)(?P<image>\S+)(?:\s+as\s+(?P<name>\S+))?", re.I)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:(:?[-+])([^}]*))?\})")
_OPTION = re.compile(r"--([\w-]+)(?:=(\S+))?\s+")
_SECRET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
SCRATCH = "scratch"


class Instruction(msgspec.Struct, frozen=True):
    """`line`: its first, from 1. `rest` has its lines joined."""

    name: str
    rest: str
    line: int
    text: str  # as it was written


class SecretMount(msgspec.Struct, frozen=True):
    """`--mount=type=secret,…`: the secret `id` as a file at `target`."""

    id: str
    target: str
    required: bool


class Stage(msgspec.Struct, frozen=True):
    """`image` with its variables put in; `name` "" where it has none."""

    image: str
    name: str
    start: int  # the number of its FROM in the instructions
    inner: bool  # built on a stage before it


def read(text: str) -> list[Instruction]:
    """The instructions.

    Raises:
        InvalidInput: it is none, or too large; the message names the line.
    """
    if len(text.encode()) > SIZE_LIMIT:
        raise InvalidInput(f"The Dockerfile has more than {SIZE_LIMIT // 1024} KiB.")
    escape = "\\"
    found: list[Instruction] = []
    parts: list[str] = []
    written: list[str] = []
    first, heading = 0, True
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if heading and (match := _DIRECTIVE.fullmatch(line.strip())):
            if match[1].lower() == "escape":
                escape = match[2]
            continue
        heading = False
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue  # also within an instruction
        first = first or number
        written.append(line)
        if bare.endswith(escape):
            parts.append(bare[:-1])
            continue
        parts.append(bare)
        found.append(_instruction(" ".join(parts), first, "\n".join(written)))
        parts, written, first = [], [], 0
    if parts:
        found.append(_instruction(" ".join(parts), first, "\n".join(written)))
    if not any(each.name == "FROM" for each in found):
        raise InvalidInput("The Dockerfile has no FROM: it has to say what it is built on.")
    return found


def _instruction(joined: str, line: int, text: str) -> Instruction:
    name, _, rest = joined.strip().partition(" ")
    if not re.fullmatch(r"[A-Za-z]+", name):
        raise InvalidInput(f"Dockerfile, line {line}: {name[:40]!r} is no instruction.")
    return Instruction(name.upper(), rest.strip(), line, text)


def stages(instructions: Sequence[Instruction], arguments: Mapping[str, str]) -> list[Stage]:
    """The stages, with the variables of their FROM put in.

    Raises:
        InvalidInput: a FROM that cannot be read, or whose variable has no value.
    """
    known: dict[str, str] = {}
    found: list[Stage] = []
    names: set[str] = set()
    for number, each in enumerate(instructions):
        if each.name == "ARG" and not found:
            name, given, default = each.rest.partition("=")
            value = arguments.get(name, default.strip("\"'") if given else "")
            known[name] = _expand(value, known)
        elif each.name == "FROM":
            match = _FROM.fullmatch(each.rest)
            if match is None:
                raise InvalidInput(f"Dockerfile, line {each.line}: this FROM cannot be read.")
            image = _expand(match["image"], known)
            if not image:
                raise InvalidInput(
                    f"Dockerfile, line {each.line}: {match['image']} has no value. Give a build "
                    "argument, or a default in its ARG."
                )
            name = (match["name"] or "").lower()
            found.append(Stage(image, name, number, image.lower() in names))
            names |= {name, str(len(found) - 1)} - {""}
    return found


def _expand(text: str, known: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        held = known.get(match[1] or match[2], "")
        operator, word = match[3] or "", match[4] or ""
        if operator.endswith("-"):
            return held or word
        if operator.endswith("+"):
            return word if held else ""
        return held

    return _VARIABLE.sub(value, text)


def bases(instructions: Sequence[Instruction], arguments: Mapping[str, str]) -> list[str]:
    """The images from outside that it is built from, or copies from; each once."""
    found = stages(instructions, arguments)
    inner = {stage.name for stage in found} | {str(n) for n in range(len(found))}
    images = [stage.image for stage in found if not stage.inner]
    for each in instructions:
        rest = each.rest
        if each.name == "ONBUILD":
            name, _, rest = rest.partition(" ")
            each = Instruction(name.upper(), rest.strip(), each.line, each.text)
        if each.name in ("COPY", "ADD"):
            for option, value in _options(each.rest):
                if option == "from" and value.lower() not in inner:
                    images.append(_expand(value, arguments))
    return [image for image in dict.fromkeys(images) if image.lower() != SCRATCH]


def _options(rest: str) -> Iterable[tuple[str, str]]:
    while match := _OPTION.match(rest):
        yield match[1], match[2] or ""
        rest = rest[match.end() :]


def secret_mounts(instruction: Instruction) -> tuple[list[SecretMount], str]:
    """The secrets of a RUN, and its command without them.

    Raises:
        InvalidInput: a mount of another kind, or one that cannot be read.
    """
    mounts: list[SecretMount] = []
    rest = instruction.rest
    if instruction.name != "RUN":
        return [], rest
    where = f"Dockerfile, line {instruction.line}"
    while match := _OPTION.match(rest):
        option, value = match[1], match[2] or ""
        if option != "mount":
            raise InvalidInput(
                f"{where}: RUN --{option} needs BuildKit, which is not used here. Leave it out."
            )
        fields: dict[str, str] = {}
        for part in value.split(","):
            key, _, given = part.partition("=")
            fields[key] = given
        if fields.get("type") != "secret":
            raise InvalidInput(
                f"{where}: RUN --mount=type={fields.get('type', 'bind')} needs BuildKit, which is "
                "not used here; type=secret is what this builder knows. Leave the mount out."
            )
        target = fields.get("target") or fields.get("dst") or fields.get("destination") or ""
        id = fields.get("id") or target.rpartition("/")[2]
        if not _SECRET_NAME.fullmatch(id):
            raise InvalidInput(f"{where}: the mount of a secret names it, as in id=TOKEN.")
        target = target or f"/run/secrets/{id}"
        if not target.startswith("/") or ".." in target.split("/"):
            raise InvalidInput(f"{where}: the target of a secret is an absolute path.")
        required = fields.get("required", "false").lower() in ("true", "1", "")
        mounts.append(SecretMount(id, target, required))
        rest = rest[match.end() :]
    return mounts, rest


def command_of(rest: str, shell: Sequence[str]) -> list[str]:
    """What a RUN runs: a JSON list as it is, all else by the shell."""
    if rest.startswith("["):
        try:
            words = json.loads(rest)
        except ValueError:
            words = None
        if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
            return words
    return [*shell, rest]


class Line(msgspec.Struct, frozen=True):
    """One line of what the engine is given; `origin`: its instruction's number, None: ours."""

    text: str
    origin: int | None


def marked(instructions: Sequence[Instruction], labels: Mapping[str, str]) -> list[Line]:
    """The Dockerfile for the engine, an instruction a line, with labels after each FROM.

    Every image on the way has them then, so that what a build leaves in the engine's cache can be
    found, and no two teams share a cache. Lines are joined, so that no escape character has to be
    told the engine.
    """
    label = "LABEL " + " ".join(f'{name}="{value}"' for name, value in sorted(labels.items()))
    lines: list[Line] = []
    for number, each in enumerate(instructions):
        lines.append(Line(f"{each.name} {each.rest}", number))
        if each.name == "FROM":
            lines.append(Line(label, None))
    return lines


def arguments_at(
    instructions: Sequence[Instruction], number: int, given: Mapping[str, str]
) -> dict[str, str]:
    """The build arguments in scope at an instruction: those that its stage declared before."""
    before: dict[str, str] = {}
    scope: dict[str, str] = {}
    outside = True
    for each in instructions[:number]:
        if each.name == "FROM":
            scope, outside = {}, False
        elif each.name == "ARG":
            for word in each.rest.split() if not outside else [each.rest]:
                name, has, default = word.partition("=")
                known = {**before, **scope}
                value = _expand(default.strip("\"'"), known) if has else before.get(name)
                value = given.get(name, value)
                if value is not None:
                    (before if outside else scope)[name] = value
    return scope
