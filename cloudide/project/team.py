"""What the file of `cloudide apply` may hold: what a team declares, and what is wrong with it.

A section that the file has is the whole of it: what it does not name is to go. A section that is
missing is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from cloudide.project import checking, configuration
from cloudide.project.problems import Mistake, Problem

POOL_LIMIT = 100  # workspaces of one pool
HOURS_LIMIT = 8760.0


class ImageTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[images.NAME]`: from one of `context` (a folder beside the file), `git` and `reference`.

    `promote`: what is built is put in use at once.
    """

    title: str = ""
    description: str = ""
    context: str = ""
    git: str = ""
    reference: str = ""
    ref: str = ""
    folder: str = ""
    dockerfile: str = "Dockerfile"
    target: str = ""
    arguments: dict[str, str] = {}
    updates: Literal["restart", "ask"] = "restart"
    promote: bool = True


class PrebuildItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One `[[prebuilds]]`."""

    url: str
    image: str = "base"
    ref: str = ""
    every_hours: float = 0.0
    ready: int = 0


class MaintenanceTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy.maintenance]`: every week from `hour` of `day`, `hours` long."""

    day: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    hour: int
    hours: int = 2
    time_zone: str = "UTC"


class PolicyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy]`."""

    maintenance: MaintenanceTable | None = None


class TeamFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. `team`: its name or id. `pools`: how many ready, by image."""

    team: str
    policy: PolicyTable | None = None
    images: dict[str, ImageTable] | None = None
    pools: dict[str, int] | None = None
    prebuilds: list[PrebuildItem] | None = None


def read(content: bytes) -> tuple[TeamFile | None, str, list[Mistake]]:
    """What the file says, its text, and what is wrong with it; None: too much is."""
    text, document, found = configuration.load(content)
    if not found:
        found = list(checking.mistakes(document, TeamFile))
    if found:
        return None, text, found
    file = msgspec.convert(document, TeamFile)
    found = list(_check(file))
    return (None if found else file), text, found


def problems(name: str, text: str, mistakes: list[Mistake]) -> list[Problem]:
    """The mistakes with their lines and columns."""
    found = configuration.problems(text, mistakes)
    return [msgspec.structs.replace(each, file=name) for each in found]


def _check(file: TeamFile) -> Iterator[Mistake]:
    for name, image in (file.images or {}).items():
        path = ("images", name)
        given = [key for key in ("context", "git", "reference") if getattr(image, key)]
        if len(given) != 1:
            yield Mistake(f"[images.{name}]: say one of context, git and reference.", path)
        elif given == ["reference"]:
            for key in ("ref", "folder", "target", "arguments"):
                if getattr(image, key):
                    message = f"[images.{name}]: {key} means nothing for an existing image."
                    yield Mistake(message, (*path, key))
        elif given == ["context"]:
            for key in ("ref", "folder"):
                if getattr(image, key):
                    message = f"[images.{name}]: {key} is for an image from Git."
                    yield Mistake(message, (*path, key))
    for name, size in (file.pools or {}).items():
        if not 1 <= size <= POOL_LIMIT:
            message = f"A pool holds 1 to {POOL_LIMIT} workspaces; leave it out for none."
            yield Mistake(message, ("pools", name))
    seen: set[tuple[str, str, str]] = set()
    for index, item in enumerate(file.prebuilds or []):
        path = ("prebuilds", index)
        if (key := (item.image, item.url, item.ref)) in seen:
            yield Mistake("The same repository, branch and image stand above already.", path)
        seen.add(key)
        if item.every_hours and not 0.1 <= item.every_hours <= HOURS_LIMIT:
            yield Mistake("every_hours is 0.1 to 8760, or 0.", (*path, "every_hours"))
        if not 0 <= item.ready <= POOL_LIMIT:
            yield Mistake(f"ready is a number from 0 to {POOL_LIMIT}.", (*path, "ready"))
    window = file.policy.maintenance if file.policy else None
    if window is not None:
        if not 0 <= window.hour <= 23:
            yield Mistake("hour is a number from 0 to 23.", ("policy", "maintenance", "hour"))
        if not 1 <= window.hours <= 24:
            yield Mistake("hours is a number from 1 to 24.", ("policy", "maintenance", "hours"))
