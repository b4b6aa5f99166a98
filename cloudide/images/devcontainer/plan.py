"""What CloudIDE makes of a merged configuration, and what it cannot make of it. Pure.

The properties are those of https://containers.dev/implementors/json_reference/; merged as
https://containers.dev/implementors/spec/#merge-logic says, which the reference has done.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cloudide.errors import InvalidInput
from cloudide.images.devcontainer.policy import Ask, bind_of
from cloudide.workspaces.runtime import Grants

PORTS_LIMIT = 100
NOTICES_LIMIT = 100
SECRETS_LIMIT = 50
COMMANDS_LIMIT = 50  # parts of all lifecycle commands
TEXT_LIMIT = 4000  # characters of one value
HOOKS = (
    "onCreateCommand",
    "updateContentCommand",
    "postCreateCommand",
    "postStartCommand",
    "postAttachCommand",
)
WAIT_FOR = "updateContentCommand"  # where nothing else is said
_UNITS = {"tb": 1 << 40, "gb": 1 << 30, "mb": 1 << 20, "kb": 1 << 10, "": 1}
_SIZE = re.compile(r"(\d{1,15})([tgmk]b)?", re.I)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_FOLDER = re.compile(r"(?=.{2,200}$)(?:/(?!\.\.?(?:/|$))[\w.+@-]+)+", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,31})?")
# Kept by the agent and the runtime for themselves.
_OURS = ("HOME", "CLOUDIDE_ROOT", "CLOUDIDE_LINK", "CLOUDIDE_WORKSPACE")

_HONOURED = {
    *("$schema", "name", "image", "build", "dockerFile", "context", "features"),
    *("overrideFeatureInstallOrder", "containerEnv", "remoteEnv", "containerUser", "remoteUser"),
    *("workspaceFolder", "forwardPorts", "portsAttributes", "hostRequirements", "customizations"),
    *("secrets", "waitFor", *HOOKS),
    # These are the policy's.
    *("initializeCommand", "privileged", "capAdd", "securityOpt", "runArgs", "mounts"),
    "init",  # every container has one
}
WITHOUT = {
    "workspaceMount": "the project lies in the workspace's own volume",
    "appPort": "no port of the machine is published; forwardPorts does what it is for",
    "otherPortsAttributes": "ports that are not named are shown as others are",
    "userEnvProbe": "terminals are login shells, all else gets the container's environment",
    "updateRemoteUserUID": "nothing of a machine is mounted whose owner it would have to be",
    "overrideCommand": "the agent always is the container's command",
    "shutdownAction": "workspaces stop by themselves when nobody uses them",
    "extensions": "settings of another tool",
    "settings": "settings of another tool",
    "devPort": "settings of another tool",
}


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """A port that is announced. `on_forward`: `onAutoForward`."""

    port: int
    label: str = ""
    protocol: str = ""
    on_forward: str = ""


class Secret(msgspec.Struct, frozen=True, omit_defaults=True):
    """A secret that a project asks for by name."""

    name: str
    description: str = ""
    documentation: str = ""


class Command(msgspec.Struct, frozen=True):
    """One lifecycle command of one origin: `parts` run side by side, named "" where there is one.

    A part is a shell's text, or words (https://containers.dev/implementors/json_reference/
    #formatting-string-vs-array-properties).
    """

    parts: dict[str, str | list[str]]


class Plan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered with a version. `user` "": the image's. `folder`: where the project is
    seen. `merged`: all that the reference says. `notices`: what has no effect here, and why."""

    path: str
    merged: dict[str, Any]
    name: str = ""
    folder: str = ""
    user: str = ""
    environment: dict[str, str] = {}
    remote_environment: dict[str, str] = {}
    ports: list[Port] = []
    commands: dict[str, list[Command]] = {}
    wait_for: str = WAIT_FOR
    secrets: list[Secret] = []
    customizations: dict[str, Any] = {}
    grants: Grants = Grants()
    notices: list[str] = []


def draw(
    path: str,
    configuration: Mapping[str, Any],
    merged: Mapping[str, Any],
    *,
    folder: str,
    local: Sequence[str],
    grants: Grants,
    ineffective: Iterable[Ask],
) -> Plan:
    """The plan for a configuration that the policy lets pass.

    Raises:
        InvalidInput: it has more lifecycle commands than there may be.
    """
    notices = [*_notices(configuration, merged, local)]
    notices += [
        f"{ask.property} ({ask.value[:100]}): it is allowed, but nothing comes of it here"
        for ask in ineffective
    ]
    if not _FOLDER.fullmatch(folder):
        if folder:
            notices.append(f"workspaceFolder ({folder[:100]}): it cannot be used as a path")
        folder = ""
    user = str(merged.get("remoteUser") or merged.get("containerUser") or "")
    if user and not _USER.fullmatch(user):
        notices.append(f"remoteUser ({user[:100]}): this is no user's name")
        user = ""
    return Plan(
        path=path,
        merged=dict(merged),
        name=str(merged.get("name") or "")[:200],
        folder=folder,
        user=user,
        environment=_environment(merged.get("containerEnv"), "containerEnv", notices),
        remote_environment=_environment(merged.get("remoteEnv"), "remoteEnv", notices),
        ports=_ports(merged, notices),
        commands=_commands(merged),
        wait_for=str(merged.get("waitFor") or WAIT_FOR),
        secrets=_secrets(merged.get("secrets")),
        customizations=_ours(merged.get("customizations")),
        grants=grants,
        notices=notices[:NOTICES_LIMIT],
    )


def requirements(merged: Mapping[str, Any], cpus: float, memory: int) -> list[tuple[str, str]]:
    """What it needs of a machine and a workspace here does not have: what, and why.

    Args:
        memory: bytes of a workspace, as `cpus` are its CPUs.
    """
    needs = merged.get("hostRequirements") or {}
    found: list[tuple[str, str]] = []
    wanted = needs.get("cpus")
    if isinstance(wanted, int | float) and wanted > cpus:
        found.append((f"cpus {wanted}", f"a workspace here has {cpus:g} CPUs"))
    if (size := bytes_of(needs.get("memory"))) > memory:
        here = f"a workspace here has {memory / (1 << 30):g} GiB"
        found.append((f"memory {size / (1 << 30):g} GiB", here))
    if (gpu := needs.get("gpu")) and gpu != "optional":
        found.append(("gpu", "workspaces here have none"))
    return found


def bytes_of(text: object) -> int:
    """A size such as `4gb`, in bytes; 0 where it is none."""
    found = _SIZE.fullmatch(str(text or ""))
    return int(found[1]) * _UNITS[(found[2] or "").lower()] if found else 0


def resolved(values: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Variables with `${containerEnv:NAME[:default]}` put in from a container's environment."""

    def value(match: re.Match[str]) -> str:
        return environment.get(match[1], match[2] or "")

    pattern = re.compile(r"\$\{containerEnv:([^:}]*)(?::([^}]*))?\}")
    return {name: pattern.sub(value, text) for name, text in values.items()}


# ── parts ───────────────────────────────────────────────────────────────────────────────────────


def _notices(
    configuration: Mapping[str, Any], merged: Mapping[str, Any], local: Sequence[str]
) -> Iterable[str]:
    for name in local:
        if name == "${localWorkspaceFolder}":
            yield f"{name}: there is no local folder; it is the one in the container"
        else:
            yield f"{name[:100]}: it is empty; nothing of the server's machine is read"
    for key in configuration:
        if key in WITHOUT:
            yield f"{key}: {WITHOUT[key]}"
        elif key not in _HONOURED:
            yield f"{key[:100]}: it means nothing here"
    build = configuration.get("build") or {}
    if isinstance(build, dict):
        if build.get("cacheFrom"):
            yield "build.cacheFrom: builds have a cache of their own"
        if build.get("options"):
            yield "build.options: builds take no further options"
    for mount in merged.get("mounts") or []:
        if not bind_of(mount):
            yield f"mounts ({_text(mount)}): workspaces have their own volumes, and no others"
    for entry in merged.get("entrypoints") or []:
        yield f"entrypoint of a feature ({_text(entry)}): the agent is what a container runs"
    for key in merged.get("customizations") or {}:
        if key != "cloudide":
            yield f"customizations.{key[:100]}: settings of another tool"
    needs = merged.get("hostRequirements") or {}
    if bytes_of(needs.get("storage")):
        yield "hostRequirements.storage: the disk of a workspace is that of the machine"
    if needs.get("gpu") == "optional":
        yield "hostRequirements.gpu: workspaces here have none"
    for where, table in (merged.get("portsAttributes") or {}).items():
        for key in ("requireLocalPort", "elevateIfNeeded"):
            if isinstance(table, dict) and table.get(key):
                yield f"portsAttributes.{where[:50]}.{key}: no port of a local machine is used"


def _environment(value: object, what: str, notices: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, text in value.items() if isinstance(value, dict) else ():
        if text is None:
            notices.append(f"{what}.{name[:100]}: what the image sets cannot be taken away")
        elif not _VARIABLE.fullmatch(name) or name in _OURS:
            notices.append(f"{what}.{name[:100]}: this variable cannot be set")
        elif "\n" in str(text) or "\0" in str(text) or len(str(text)) > TEXT_LIMIT:
            notices.append(f"{what}.{name}: its value has several lines, or is too long")
        else:
            found[name] = str(text)
    return found


def _ports(merged: Mapping[str, Any], notices: list[str]) -> list[Port]:
    attributes = merged.get("portsAttributes") or {}
    wanted: list[int] = []
    for each in merged.get("forwardPorts") or []:
        if isinstance(each, int) and 0 < each < 65536:
            wanted.append(each)
        else:
            notices.append(f"forwardPorts ({_text(each)}): ports of this container alone are shown")
    for key in attributes:
        if key.isascii() and key.isdigit() and 0 < int(key[:6]) < 65536:
            wanted.append(int(key))
        elif not re.fullmatch(r"\d{1,5}-\d{1,5}", key):
            notices.append(f"portsAttributes.{key[:50]}: only numbers and ranges are known here")
    found: list[Port] = []
    for number in dict.fromkeys(wanted[:PORTS_LIMIT]):
        about = _attributes(attributes, number)
        found.append(
            Port(
                port=number,
                label=str(about.get("label") or "")[:100],
                protocol=str(about.get("protocol") or "")[:10],
                on_forward=str(about.get("onAutoForward") or "")[:20],
            )
        )
    return found


def _attributes(attributes: Mapping[str, Any], number: int) -> Mapping[str, Any]:
    """A port's own, or those of the first range that it lies in."""
    for key, about in attributes.items():
        first, dash, last = key.partition("-")
        is_range = dash and first.isdigit() and last.isdigit()
        if isinstance(about, dict) and (
            key == str(number) or (is_range and int(first) <= number <= int(last))
        ):
            return about
    return {}


def _commands(merged: Mapping[str, Any]) -> dict[str, list[Command]]:
    """In the order in which they run: those of the image, of features, and of the project.

    Raises:
        InvalidInput: there are too many.
    """
    found: dict[str, list[Command]] = {}
    for hook in HOOKS:
        commands = [
            command for each in merged.get(f"{hook}s") or [] if (command := command_of(each))
        ]
        if commands:
            found[hook] = commands
    count = sum(len(command.parts) for commands in found.values() for command in commands)
    if count > COMMANDS_LIMIT:
        raise InvalidInput(
            f"The lifecycle commands of the image, the features and devcontainer.json have {count} "
            f"parts; {COMMANDS_LIMIT} is the limit. Put some into a script."
        )
    return found


def command_of(value: object) -> Command | None:
    """A command in any of its three forms; None where there is nothing to run."""
    if isinstance(value, dict):
        parts = {str(name)[:100]: part for name, each in value.items() if (part := _part(each))}
        return Command(parts) if parts else None
    part = _part(value)
    return Command({"": part}) if part else None


def _part(value: object) -> str | list[str] | None:
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return value
    return None


def _secrets(value: object) -> list[Secret]:
    found: list[Secret] = []
    for name, about in value.items() if isinstance(value, dict) else ():
        if not _VARIABLE.fullmatch(name) or len(found) == SECRETS_LIMIT:
            continue
        table = about if isinstance(about, dict) else {}
        found.append(
            Secret(
                name=name,
                description=str(table.get("description") or "")[:500],
                documentation=str(table.get("documentationUrl") or "")[:500],
            )
        )
    return found


def _ours(value: object) -> dict[str, Any]:
    """`customizations.cloudide` of all who say something, the last one's word on each key."""
    merged: dict[str, Any] = {}
    entries = value.get("cloudide") if isinstance(value, dict) else None
    for each in entries if isinstance(entries, list) else ():
        if isinstance(each, dict):
            merged |= each
    return merged


def _text(value: object) -> str:
    return (value if isinstance(value, str) else msgspec.json.encode(value).decode())[:100]
