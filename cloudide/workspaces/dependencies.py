"""Shared dependency caches: what a team's projects depend on, where its workspaces find it.

A *seed* is a volume that the team's workspaces see read-only: wheels for pip, a cache for npm, a
module proxy for Go. It is made anew after a prebuild that depends on more: in a container of
nobody's, which the project's code has never been in, a copy of the seed before it gets what was
named, from the registries. Workspaces that run keep the one that they began with.

npm looks for what a lock file names with its hash, and Go for a module by its address. pip takes
the newest of a name wherever it finds it, so that a package that a hostile project names could
take the place of another project's own: wheels are in a folder for each repository, are offered to
workspaces of that one alone, and not by prebuilds of the site.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
import structlog
from sqlalchemy import delete, insert, select

from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError
from cloudide.settings import Settings
from cloudide.storage.database import Database
from cloudide.storage.tables import dependency_seeds
from cloudide.workspaces.packages import Packages, of_go, of_npm, of_python
from cloudide.workspaces.runtime import SEEDS

_log = structlog.get_logger(__name__)

SITE = "site"
LIMIT = 1000  # packages of a kind
FILE_LIMIT = 8 * 1024 * 1024  # bytes of a lock file
LIST_LIMIT = 1024 * 1024  # bytes of paths
LIST_SECONDS = 60.0
INSTALLED = (
    "find /workspace \"$HOME\" -xdev -type d -path '*/site-packages/*' -name '*.dist-info' -prune "
    "2>/dev/null | head -n 5000"
)
# One that a registry has not, or not for this machine, is left out; the others are of use still.
FETCH = {
    "pip": "python3 -m pip download --quiet --no-deps --only-binary=:all: --dest pip/{folder}",
    "npm": "npm cache add --cache npm",
    "go": "cd / && GOMODCACHE=/workspace/go GOFLAGS=-modcacherw go mod download",
}
GO_PROXY = "https://proxy.golang.org,direct"  # as `go help environment` has it
TOGETHER = 50  # packages that one command fetches


class Seed(msgspec.Struct, frozen=True):
    """`id`: whose volume in the engine it is."""

    id: str
    packages: Packages


class Seeds:
    """The seeds of all teams, in memory and in the database."""

    def __init__(self, database: Database) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._database = database
        self._seeds: dict[str, Seed] = {}

    async def start(self) -> None:
        async with self._database.begin() as db:
            for row in await db.execute(select(dependency_seeds)):
                packages = msgspec.json.decode(row.packages, type=Packages)
                self._seeds[row.id] = Seed(row.seed, packages)

    def of(self, team: str) -> Seed | None:
        """The one that a team's workspaces see, or those of nobody's team."""
        return self._seeds.get(team or SITE)

    async def set(self, team: str, seed: Seed) -> None:
        id = team or SITE
        async with self._database.begin() as db:
            await db.execute(delete(dependency_seeds).where(dependency_seeds.c.id == id))
            await db.execute(
                insert(dependency_seeds).values(
                    id=id,
                    team=team or None,
                    seed=seed.id,
                    packages=msgspec.json.encode(seed.packages).decode(),
                    made_at=time.time(),
                )
            )
        self._seeds[id] = seed
        self.on_change()


def folder_of(git_url: str) -> str:
    """Where the wheels of a repository are."""
    return hashlib.sha256(git_url.encode()).hexdigest()[:32] if git_url else ""


def variables(seed: Seed, git_url: str) -> dict[str, str]:
    """What tells pip and npm of a seed, in a workspace of a repository or ("") of none."""
    found: dict[str, str] = {}
    folder = folder_of(git_url)
    if folder and any(each.startswith(f"{folder}/") for each in seed.packages.pip):
        # Without a network pip asks its index in vain for each package before it looks here.
        found |= {"PIP_FIND_LINKS": f"{SEEDS}/pip/{folder}", "PIP_RETRIES": "1"}
    if seed.packages.npm:
        found |= {"npm_config_prefer_offline": "true"}
    return found


def go_proxies(seed: Seed, go_proxy: str) -> dict[str, tuple[str, str]]:
    """What tells Go of a seed: a proxy before the image's own, or else the site's or Go's default
    (`ContainerSpec.preceding`)."""
    if not seed.packages.go:
        return {}
    return {"GOPROXY": (f"file://{SEEDS}/go/cache/download", go_proxy or GO_PROXY)}


# npm writes where it reads: a new home gets a copy of its own, which nobody else sees.
PREPARE = (
    f"[ ! -d {SEEDS}/npm/_cacache ] || [ -e ~/.npm/_cacache ] || "
    f"{{ mkdir -p ~/.npm && cp -r --reflink=auto {SEEDS}/npm/_cacache ~/.npm/; }}"
)


async def gathered(agent: Agent) -> Packages:
    """What the project in a workspace depends on, as it is installed and locked there."""
    paths = bytearray()

    def output(_stream: int, data: bytes) -> None:
        if len(paths) < LIST_LIMIT:
            paths.extend(data)

    await agent.execute(["sh", "-c", INSTALLED], on_output=output, timeout=LIST_SECONDS)
    return Packages(
        of_python(paths.decode(errors="replace").splitlines()),
        of_npm(await _content(agent, "package-lock.json")),
        of_go((await _content(agent, "go.sum")).decode(errors="replace")),
    )


async def _content(agent: Agent, path: str) -> bytes:
    try:
        content = (await agent.read(path, FILE_LIMIT)).content or b""
    except CloudIDEError:  # it is not there, or is larger than this
        return b""
    return content[:FILE_LIMIT]


async def fetch(
    agent: Agent,
    packages: Packages,
    folder: str,
    settings: Settings,
    seconds: float,
    log: Callable[[str], None],
) -> tuple[Packages, Packages]:
    """Have registries' packages (`Packages.of_repository` of a folder) in the root of a workspace.

    Answers those that could be had, and those that could not; what is left after `seconds` is
    neither.
    """
    mirrors = {
        "PIP_INDEX_URL": settings.pip_index,
        "npm_config_registry": settings.npm_registry,
        "GOPROXY": settings.go_proxy,
    }
    environment = {name: value for name, value in mirrors.items() if value}
    index = urlsplit(settings.pip_index)
    if index.scheme == "http" and index.hostname:
        environment["PIP_TRUSTED_HOST"] = index.hostname  # whoever set it so wants that
    got: dict[str, list[str]] = {kind: [] for kind in FETCH}
    failed: dict[str, list[str]] = {kind: [] for kind in FETCH}
    try:
        async with asyncio.timeout(seconds):
            for kind, template in FETCH.items():
                command = template.format(folder=folder)
                names: list[str] = getattr(packages, kind)
                for at in range(0, len(names), TOGETHER):
                    batch = names[at : at + TOGETHER]
                    plain = [name.removeprefix(f"{folder}/") for name in batch]
                    if await _run(agent, command, plain, environment, settings):
                        got[kind] += batch
                        continue
                    for name, asked in zip(batch, plain, strict=True):
                        had = await _run(agent, command, [asked], environment, settings)
                        (got if had else failed)[kind].append(name)
    except TimeoutError:
        log(f"The caches are not complete after {seconds:.0f} s; the next prebuild goes on.")
    for kind in FETCH:
        if names := getattr(packages, kind):
            log(f"Cache for {kind}: {len(got[kind])} of {len(names)} packages")
    return Packages(**got), Packages(**failed)


async def _run(
    agent: Agent, command: str, names: list[str], environment: dict[str, str], settings: Settings
) -> bool:
    line = f"cd /workspace && {command} {shlex.join(names)}"
    limit = settings.prebuild_timeout
    try:
        ended = await agent.execute(["sh", "-c", line], env=environment, timeout=limit)
    except TimeoutError:
        return False
    return ended.code == 0
