"""The Dockerfile that a configuration comes to: its image or Dockerfile, then its features. Pure.

The reference's own `build` asks for a docker command with BuildKit, outside our network, limits and
labels, and with secrets in its cache. So its result is put together here, as it would do it
(https://containers.dev/implementors/features/#invoking-installsh), for our own builder.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cloudide.errors import InvalidInput
from cloudide.images import dockerfile

FOLDER = ".cloudide-devcontainer"  # in the context; whatever a project has of that name is left out
DOCKERFILE = f"{FOLDER}/Dockerfile"
FEATURES = f"{FOLDER}/features"
INSTALLED_AT = "/tmp/dev-container-features"  # noqa: S108
WORKSPACE, HOME = "/workspace", "/home/dev"
_LETTERS = re.compile(r"[^\w_]", re.ASCII)
_LEADING = re.compile(r"^[\d_]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def ground(image: str) -> str:
    """The beginning, for a configuration that names an image."""
    return f"FROM {image}\n"


def up_to(text: str, target: str, arguments: Mapping[str, str]) -> str:
    """A Dockerfile up to the end of the stage that is wanted, so that more can follow there.

    Raises:
        InvalidInput: it has no such stage.
    """
    instructions = dockerfile.read(text)
    stages = dockerfile.stages(instructions, arguments)
    if not target:
        return text.rstrip("\n") + "\n"
    for index, stage in enumerate(stages):
        if target.lower() in (stage.name, str(index)):
            following = stages[index + 1 :]
            if not following:
                return text.rstrip("\n") + "\n"
            lines = text.split("\n")[: instructions[following[0].start].line - 1]
            return "\n".join(lines).rstrip("\n") + "\n"
    names = ", ".join(stage.name for stage in stages if stage.name) or "none has a name"
    raise InvalidInput(f"build.target: the Dockerfile has no stage {target!r}; there are: {names}.")


def user_of(text: str, arguments: Mapping[str, str], images: Mapping[str, str]) -> str:
    """The user that the last stage ends with; `images`: those of images."""
    instructions = dockerfile.read(text)
    stages = dockerfile.stages(instructions, arguments)
    number = len(stages) - 1
    while True:
        stage = stages[number]
        end = stages[number + 1].start if number + 1 < len(stages) else len(instructions)
        said = [each.rest for each in instructions[stage.start : end] if each.name == "USER"]
        if said and "$" not in said[-1]:
            return said[-1].split(":")[0]
        if not stage.inner:
            return images.get(stage.image, "").split(":")[0] or "root"
        number = next(
            index
            for index, each in enumerate(stages)
            if stage.image.lower() in (each.name, str(index))
        )


def rest(
    features: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    user: str,
    environment: Mapping[str, str],
    folder: str,
) -> str:
    """What follows the ground.

    Args:
        features: the folder of each in `FEATURES`, and what it says of itself.
        user: who the container runs as; its name stays what it was.
        environment: `containerEnv`.
        folder: where the project is to be seen besides `/workspace`.
    """
    lines: list[str] = []
    if features or _link(folder):
        lines.append("USER root")
    if features:
        lines.append(f"COPY {FEATURES}/ {INSTALLED_AT}/")
    for name, about in features:
        lines += [
            f'ENV {key}="{_quoted(str(value))}"'
            for key, value in (about.get("containerEnv") or {}).items()
            if _VARIABLE.fullmatch(key) and "\n" not in str(value)
        ]
        lines.append(f"RUN /bin/sh {INSTALLED_AT}/{name}.sh")
    if features:
        lines.append(f"RUN rm -rf {INSTALLED_AT}")
    if path := _link(folder):
        parent = path.rpartition("/")[0] or "/"
        lines.append(
            f"RUN mkdir -p {shlex.quote(parent)} && "
            f"{{ [ -e {shlex.quote(path)} ] || ln -s {WORKSPACE} {shlex.quote(path)}; }}"
        )
    if lines:
        lines.append(f"USER {user}")
    lines += [f'ENV {key}="{_literal(value)}"' for key, value in environment.items()]
    return "".join(f"{line}\n" for line in lines)


def installer(name: str, about: Mapping[str, Any], *, container_user: str, remote_user: str) -> str:
    """The script that installs one feature, as root, with its options and the users it is for."""
    values = {**options(about), "_CONTAINER_USER": container_user, "_REMOTE_USER": remote_user}
    title = f"{about.get('name') or about.get('id')} {about.get('version') or ''}".strip()
    exports = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in values.items())
    return (
        "set -e\n"
        f"echo {shlex.quote(f'Feature {title}')}\n"
        f"{exports}"
        'home_of() { sed -n "s|^$1:[^:]*:[^:]*:[^:]*:[^:]*:\\([^:]*\\):.*|\\1|p" /etc/passwd; }\n'
        '_CONTAINER_USER_HOME=$(home_of "$_CONTAINER_USER")\n'
        '_REMOTE_USER_HOME=$(home_of "$_REMOTE_USER")\n'
        "export _CONTAINER_USER_HOME _REMOTE_USER_HOME\n"
        f"cd {INSTALLED_AT}/{name}\n"
        "chmod +x install.sh\n"
        "./install.sh\n"
    )


def options(about: Mapping[str, Any]) -> dict[str, str]:
    """A feature's options as variables, those that were not given with their defaults
    (https://containers.dev/implementors/features/#option-resolution)."""
    given = about.get("value")
    if isinstance(given, str):
        given = {"version": given}
    known = about.get("options") or {}
    values = {key: each.get("default") for key, each in known.items() if isinstance(each, dict)}
    values |= given if isinstance(given, dict) else {}
    return {_variable(key): _text(value) for key, value in values.items() if value is not None}


def owned(image: str, *, uid: int, gid: int, user: str, home: str) -> Iterator[str]:
    """The lines that make an image a user's: what a workspace's volumes begin with."""
    copy = ""
    if home not in ("", "/", HOME):
        copy = f"if [ -d {shlex.quote(home)} ]; then cp -a {shlex.quote(home)}/. {HOME}/; fi && "
    yield f"FROM {image}"
    yield "USER root"
    yield f"RUN mkdir -p {WORKSPACE} {HOME} && {copy}chown -R {uid}:{gid} {WORKSPACE} {HOME}"
    yield f'LABEL cloudide.owner="{uid}:{gid}"'
    yield f"USER {user}"


def variables(values: Mapping[str, str]) -> Iterator[str]:
    """Lines that set variables to just these values."""
    for key, value in values.items():
        yield f'ENV {key}="{_literal(value)}"'


def _variable(name: str) -> str:
    return _LEADING.sub("_", _LETTERS.sub("_", name)).upper()


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _literal(text: str) -> str:
    return _quoted(text).replace("$", "\\$")


def _link(folder: str) -> str:
    """The folder, if it is one beside `/workspace`."""
    inside = folder == WORKSPACE or folder.startswith(f"{WORKSPACE}/")
    return "" if inside else folder
