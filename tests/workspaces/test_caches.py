"""Dependency caches: what is fetched, how often and for how long, and who is offered it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudide.errors import AgentUnavailable
from cloudide.settings import Settings
from cloudide.workspaces import dependencies, docker, prebuilds
from cloudide.workspaces.dependencies import Seed, fetch, folder_of, go_proxies, variables
from cloudide.workspaces.packages import Packages
from cloudide.workspaces.prebuild_store import Prebuild
from cloudide.workspaces.prebuilds import Prebuilds
from cloudide.workspaces.runtime import ContainerSpec, Limits

URL, OTHER = "https://example.org/x", "https://example.org/y"
FOLDER = folder_of(URL)
LIMIT = 5


class Registry:
    """An agent whose commands fail with one package, and never end with another."""

    def __init__(self, missing: str = "", endless: str = "") -> None:
        self.missing, self.endless = missing, endless
        self.commands: list[list[str]] = []

    async def execute(self, argv: list[str], **_: Any) -> Any:
        words = argv[2].split()
        self.commands.append(words)
        if self.endless in words:
            await asyncio.Event().wait()
        return SimpleNamespace(code=1 if self.missing in words else 0)


async def test_what_cannot_be_had_is_told_apart_and_wheels_have_a_folder() -> None:
    agent: Any = Registry(missing="b==1")
    wanted = Packages(["a==1", "b==1"], ["@s/c@1.0.0"]).of_repository(FOLDER, LIMIT)
    got, failed = await fetch(agent, wanted, FOLDER, Settings(), 60, lambda line: None)
    assert got == Packages([f"{FOLDER}/a==1"], ["@s/c@1.0.0"])
    assert failed == Packages([f"{FOLDER}/b==1"])
    assert agent.commands[0][-4:] == ["--dest", f"pip/{FOLDER}", "a==1", "b==1"]


async def test_what_was_had_in_time_is_kept() -> None:
    agent: Any = Registry(endless="c@1.0.0")
    said: list[str] = []
    wanted = Packages([f"{FOLDER}/a==1"], ["c@1.0.0"], ["x.org/d@v1.0.0"])
    # No time at all: what has ended by then is what counts, and an endless one ends.
    got, failed = await fetch(agent, wanted, FOLDER, Settings(), 0.01, said.append)
    assert (got, failed) == (Packages([f"{FOLDER}/a==1"]), Packages())
    assert "not complete" in said[0]


def test_wheels_are_offered_to_their_own_repository_alone() -> None:
    seed = Seed("p1", Packages([f"{FOLDER}/a==1"], [], []))
    assert variables(seed, URL)["PIP_FIND_LINKS"].endswith(f"/pip/{FOLDER}")
    assert variables(seed, OTHER) == variables(seed, "") == {}
    # As former versions kept them: of all repositories of a team together.
    assert variables(Seed("p1", Packages(["a==1"])), URL) == {}


@pytest.mark.parametrize(
    ("image", "site", "then"),
    [
        (["GOPROXY=https://own"], "https://site", "https://own"),
        (["GOPROXY="], "https://site", "https://site"),
        ([], "", "https://proxy.golang.org,direct"),
    ],
    ids=["of the image", "of the site", "of nobody"],
)
def test_go_asks_whom_it_would_ask_where_the_cache_has_not(
    image: list[str], site: str, then: str
) -> None:
    spec = ContainerSpec(
        workspace_id="w",
        generation=1,
        image="i",
        agent_volume="a",
        link_directory=Path("/"),
        limits=Limits(cpus=1, memory=1, processes=1),
        preceding=go_proxies(Seed("p1", Packages(go=["x.org/d@v1.0.0"])), site),
    )
    client: Any = SimpleNamespace(
        create_container_config=lambda *_, **config: config,  # pyright: ignore
        create_host_config=lambda **_: {},  # pyright: ignore
    )
    config = docker._container_config(  # pyright: ignore[reportPrivateUsage]
        client,
        spec,
        name="n",
        seeds="s",
        owner=(1, 1),
        labels={},
        image_variables=docker._variables(image),  # pyright: ignore[reportPrivateUsage]
    )
    cache = f"file://{dependencies.SEEDS}/go/cache/download"
    assert config["environment"]["GOPROXY"] == f"{cache},{then}"


class Site:
    """All that prebuilds need of others; `asked` is what was to be fetched, each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seed: Seed | None = None
        self.missing: set[str] = set()
        self.asked: list[Packages] = []
        self.copied: list[str] = []
        self.fetching = asyncio.Event()
        self.endless = False
        monkeypatch.setattr(prebuilds, "fetch", self.fetch)
        monkeypatch.setattr(prebuilds, "LIMIT", LIMIT)
        site: Any = self
        self.prebuilds = Prebuilds(site, site, site, site, site, site, Settings())

    async def share(self, depends: Packages, *, team: str = "t1", url: str = URL) -> None:
        """A prebuild of this repository is ready, which depends on this."""
        made = Prebuild(f"b{url}", team, "base", url, "", 0, "ready", "", "c", "p", 1, 1)
        self.prebuilds._depends = depends  # pyright: ignore[reportPrivateUsage]
        work = self.prebuilds._share(made)  # pyright: ignore[reportPrivateUsage]
        await self.prebuilds._result(made.id, work)  # pyright: ignore[reportPrivateUsage]

    async def fetch(self, _agent: Any, packages: Packages, *_: Any) -> tuple[Packages, Packages]:
        self.asked.append(packages)
        self.fetching.set()
        if self.endless:
            await asyncio.Event().wait()
        failed = Packages(npm=[each for each in packages.npm if each in self.missing])
        return packages.without(failed), failed

    def of(self, _: str) -> Seed | None:
        return self.seed

    async def set(self, _: str, seed: Seed) -> None:
        self.seed = seed

    async def copy(self, seed: str, *_: Any) -> None:
        self.copied.append(seed)

    async def draw(self, id: str, *_: Any) -> Any:
        return SimpleNamespace(workspace_id=id)

    def __getattr__(self, _: str) -> Any:
        async def nothing(*_: Any) -> None:
            return None

        return nothing


@pytest.fixture
async def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def of_npm(*names: str) -> Packages:
    return Packages(npm=[*names])


async def test_a_large_project_is_not_fetched_anew_each_time(site: Site) -> None:
    large = of_npm(*(f"n{number}@1.0.0" for number in range(2 * LIMIT)))
    for _ in range(3):
        await site.share(large)
    assert site.asked == [of_npm(*large.npm[-LIMIT:])]


async def test_what_is_not_to_be_had_is_asked_for_once_for_the_same(site: Site) -> None:
    site.missing = {"own@1.0.0"}
    await site.share(of_npm("own@1.0.0", "a@1.0.0"))
    await site.share(of_npm("own@1.0.0", "a@1.0.0"))
    assert len(site.asked) == 1
    await site.share(of_npm("own@1.0.0", "a@1.0.0", "b@1.0.0"))
    assert site.asked[1:] == [of_npm("own@1.0.0", "b@1.0.0")]
    assert site.seed is not None
    assert site.seed.packages.npm == ["a@1.0.0", "b@1.0.0"]


async def test_what_is_listed_no_more_is_not_kept(site: Site) -> None:
    await site.share(of_npm("a@1.0.0", "b@1.0.0"))
    assert site.seed is not None
    first = site.seed.id
    await site.share(of_npm("c@1.0.0"), url=OTHER)
    assert site.copied == [first]
    await site.share(of_npm("b@1.0.0", "d@1.0.0", "e@1.0.0", "f@1.0.0", "g@1.0.0"), url=OTHER)
    assert site.copied == [first]  # the volume holds nothing but what was fetched now
    assert site.seed.packages == site.asked[-1]


async def test_no_wheels_for_the_workspaces_of_everybody(site: Site) -> None:
    await site.share(Packages(["a==1"]), team="")
    assert site.asked == []
    await site.share(Packages(["a==1"]))
    assert site.asked == [Packages([f"{FOLDER}/a==1"])]


async def test_a_prebuild_that_is_deleted_fetches_nothing_more(site: Site) -> None:
    site.endless = True
    task = asyncio.create_task(site.share(of_npm("a@1.0.0")))
    await site.fetching.wait()
    await site.prebuilds.delete(f"b{URL}")
    with pytest.raises(Exception, match="deleted while"):
        await task
    assert site.seed is None


async def test_a_cache_that_takes_too_long_is_given_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prebuilds, "SHARE_SECONDS", 0.01)
    site.endless = True
    await site.share(of_npm("a@1.0.0"))
    assert site.seed is None


@pytest.mark.parametrize("error", [TimeoutError(), AgentUnavailable()], ids=["late", "gone"])
async def test_a_prebuild_is_ready_whose_dependencies_are_not_found_out(
    site: Site, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def gathered(_: Any) -> Packages:
        raise error

    async def command(*_: Any) -> str:
        return "abc\n"

    monkeypatch.setattr(prebuilds, "gathered", gathered)
    monkeypatch.setattr(prebuilds, "command", command)
    for name in ("clone", "_setup"):
        monkeypatch.setattr(prebuilds, name, site.nothing)
    made = Prebuild("b1", "t1", "base", URL, "", 0, "building", "", "", "", 0, 0)
    assert await site.prebuilds._build(made, "p1") == "abc"  # pyright: ignore[reportPrivateUsage]
    assert "could not be found out" in site.prebuilds._log.text()  # pyright: ignore
