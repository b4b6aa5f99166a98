"""What a development container may not ask for, unless its team's policy allows just that. Pure.

A configuration, a feature and an image (by its label `devcontainer.metadata`) may each ask for
things that would give a stranger's file the server's machine. All three are looked at, and what
they come to when they are merged as well; nothing is dropped without a word.

The policy is the setting `devcontainer_allow`: `TEAM:PROPERTY` or `TEAM:PROPERTY=VALUE`, between
commas, where TEAM is a team's id (names may be changed, and taken by others), `site` for images
of no team, or `*`. Only administrators write settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from cloudide.errors import Denied, InvalidInput
from cloudide.workspaces.runtime import Grants

METADATA_LABEL = "devcontainer.metadata"
METADATA_LIMIT = 256 * 1024  # characters
PROPERTIES = (
    *("initializeCommand", "privileged", "mounts", "capAdd", "securityOpt", "runArgs"),
    "hostRequirements",
)
# What a container here has anyway.
_HARMLESS = ("--init", "--init=true", "--rm", "-t", "-i", "-it", "-d")
_VALUED = {
    "--cap-add": "capAdd",
    "--security-opt": "securityOpt",
    "--mount": "mounts",
    "-v": "mounts",
    "--volume": "mounts",
}


class Ask(msgspec.Struct, frozen=True, order=True):
    """`by`: whose wish it is, for people."""

    property: str
    value: str
    by: str


class Rule(msgspec.Struct, frozen=True):
    """`team`: an id, `site` or `*`; `value` "": any."""

    team: str
    property: str
    value: str


class Judgement(msgspec.Struct, frozen=True):
    """`ineffective`: allowed, but nothing comes of it here."""

    grants: Grants
    ineffective: list[Ask]


def rules(setting: str) -> list[Rule]:
    """Raises: InvalidInput: the setting cannot be read."""
    found: list[Rule] = []
    for text in filter(None, (part.strip() for part in setting.split(","))):
        team, colon, rest = text.partition(":")
        property, _, value = rest.partition("=")
        if not (team and colon) or property not in PROPERTIES:
            raise InvalidInput(
                f"devcontainer_allow: {text!r} is not TEAM:PROPERTY[=VALUE] with the id of "
                f"a team, site or *, and one of {', '.join(PROPERTIES)}."
            )
        found.append(Rule(team, property, value))
    return found


def asked(
    configuration: Mapping[str, Any],
    features: Iterable[tuple[str, Mapping[str, Any]]],
    images: Iterable[tuple[str, Mapping[str, Any]]],
    merged: Mapping[str, Any],
) -> list[Ask]:
    """Everything that needs a policy, each once, with the first who asks for it.

    Args:
        features: their names and what they say.
        images: the names of images and what an engine says of them.
    """
    found: dict[tuple[str, str], Ask] = {}
    sources: list[tuple[str, Mapping[str, Any]]] = [("devcontainer.json", configuration)]
    sources += [(f"the feature {id}", about) for id, about in features]
    for name, image in images:
        sources += [(f"the image {name}", entry) for entry in metadata(image)]
    sources.append(("what it is merged with", merged))
    for by, source in sources:
        for property, value in _of(source):
            found.setdefault((property, value), Ask(property, value, by))
    return sorted(found.values())


def metadata(image: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """What an image says of itself in its label; nothing where that cannot be read, as the
    reference takes it.

    Raises:
        InvalidInput: it is too large to be looked at.
    """
    labels = (image.get("Config") or {}).get("Labels") or {}
    text = labels.get(METADATA_LABEL) or ""
    if len(text) > METADATA_LIMIT:
        raise InvalidInput(f"The image's label {METADATA_LABEL} is too large.")
    try:
        value = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    entries = value if isinstance(value, list) else [value]
    return [each for each in entries if isinstance(each, dict)]


def _of(source: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if command := source.get("initializeCommand"):
        yield "initializeCommand", _shown(command)
    if source.get("privileged"):
        yield "privileged", "true"
    for capability in _texts(source.get("capAdd")):
        yield "capAdd", _capability(capability)
    for option in _texts(source.get("securityOpt")):
        yield "securityOpt", option
    for mount in source.get("mounts") or []:
        if bind := bind_of(mount):
            yield "mounts", bind
    yield from _of_arguments(_texts(source.get("runArgs")))


def _of_arguments(arguments: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Options of `docker run`, told as the properties that mean the same."""
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if argument in _HARMLESS:
            continue
        if argument in ("--privileged", "--privileged=true"):
            yield "privileged", "true"
        elif name in _VALUED and (equals or rest):
            value = value if equals else rest.pop(0)
            property = _VALUED[name]
            if property == "capAdd":
                value = _capability(value)
            elif property == "mounts":
                bind = bind_of(value) if name == "--mount" else _volume(value)
                if not bind:
                    yield "runArgs", f"{name} {value}"
                    continue
                value = bind
            yield property, value
        else:
            # Whatever follows may be its value.
            words = [argument]
            while rest and not rest[0].startswith("-"):
                words.append(rest.pop(0))
            yield "runArgs", " ".join(words)


def bind_of(mount: object) -> str:
    """A folder of the machine that a mount shows, as `/from:/to[:ro]`; "" where it shows none."""
    if isinstance(mount, str):
        fields = dict(
            (part.partition("=")[0].strip().lower(), part.partition("=")[2].strip())
            for part in mount.split(",")
        )
    elif isinstance(mount, dict):
        fields = {str(key).lower(): str(value) for key, value in mount.items()}
    else:
        return ""
    kind = fields.get("type", "volume").lower()
    source = fields.get("source") or fields.get("src") or ""
    target = fields.get("target") or fields.get("dst") or fields.get("destination") or ""
    if kind in ("volume", "tmpfs") and not source.startswith(("/", ".", "~")):
        return ""
    read_only = any(fields.get(key, "no") in ("", "true", "1") for key in ("readonly", "ro"))
    return f"{source}:{target}" + (":ro" if read_only else "")


def _volume(text: str) -> str:
    """As `bind_of`, of what `docker run -v` takes."""
    return text if text.startswith(("/", ".", "~", "$")) and ":" in text else ""


def judge(asks: Iterable[Ask], given: Sequence[Rule], team: str) -> Judgement:
    """What of it a team may have.

    Args:
        team: its id; "" for images of the site.

    Raises:
        Denied: it may not have something; all of it is named.
    """
    refused: list[Ask] = []
    ineffective: list[Ask] = []
    granted: dict[str, list[str]] = {}
    for ask in asks:
        if not any(_allows(rule, ask, team or "site") for rule in given):
            refused.append(ask)
        elif ask.property in ("initializeCommand", "runArgs"):
            ineffective.append(ask)
        else:
            granted.setdefault(ask.property, []).append(ask.value)
    if refused:
        what = "; ".join(f"{each.property} ({each.value[:100]}) by {each.by}" for each in refused)
        raise Denied(
            f"It asks for what is not allowed here: {what}. Take it out, or ask an administrator "
            f"to allow it (setting devcontainer_allow, for {team or 'site'})."
        )
    grants = Grants(
        capabilities=granted.get("capAdd", []),
        security_options=granted.get("securityOpt", []),
        privileged="privileged" in granted,
        binds=granted.get("mounts", []),
    )
    return Judgement(grants, ineffective)


def asks_of(grants: Grants) -> list[Ask]:
    """What has to be allowed still, each time that a container gets it."""
    by = "the version of the image"
    found = [Ask("capAdd", value, by) for value in grants.capabilities]
    found += [Ask("securityOpt", value, by) for value in grants.security_options]
    found += [Ask("mounts", value, by) for value in grants.binds]
    return [*found, *([Ask("privileged", "true", by)] if grants.privileged else [])]


def _allows(rule: Rule, ask: Ask, team: str) -> bool:
    if rule.team not in ("*", team) or rule.property != ask.property:
        return False
    wanted = _capability(rule.value) if rule.property == "capAdd" else rule.value
    return not rule.value or wanted == ask.value


def _capability(name: str) -> str:
    return name.upper().removeprefix("CAP_")


def _texts(value: object) -> list[str]:
    return [str(each) for each in value] if isinstance(value, list) else []


def _shown(command: object) -> str:
    return command if isinstance(command, str) else json.dumps(command)
