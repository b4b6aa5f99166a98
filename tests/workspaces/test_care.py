"""The care of one workspace: what has been fetched is never fetched again, whatever follows."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cloudide.errors import AgentUnavailable, CloudIDEError, NotFound, Unavailable
from cloudide.settings import Settings
from cloudide.workspaces import care
from cloudide.workspaces.care import Care, Means
from cloudide.workspaces.lifecycle import Desired
from cloudide.workspaces.store import Workspace

WORKSPACE = Workspace(
    id="w1",
    name="one",
    image="",
    owner="u1",
    owner_name="Ada",
    team="",
    team_name="",
    team_role="",
    git_url="https://example.org/x.git",
    git_ref="",
    initialized=False,
    desired=Desired.RUNNING,
    generation=1,
    error="",
    stopped_by="",
    created_at=0.0,
)


class Project:
    """Everything that a workspace's filling needs of others; `said` is what people are told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stored: list[tuple[str, str]] = []
        self.said: list[str] = []
        self.clones = 0
        self.usable: CloudIDEError | None = None
        monkeypatch.setattr(care, "clone", self.clone)
        monkeypatch.setattr(care, "asked_for", self.asked_for)
        everything: Any = self
        self.means = Means(
            store=everything,
            runtime=everything,
            containers=everything,
            agents=everything,
            images=everything,
            services=everything,
            feed=everything,
            settings=Settings(),
        )
        self.care = Care(WORKSPACE, self.means)

    async def fill(self) -> None:
        await self.care._initialize()  # pyright: ignore[reportPrivateUsage]

    async def clone(self, *_: Any) -> None:
        self.clones += 1

    async def asked_for(self, _: Any) -> str:
        return "tools"

    def agent(self, _: str) -> Any:
        return SimpleNamespace()

    def publish(self, kind: str, _: str, body: dict[str, Any]) -> None:
        if kind == "log":
            self.said.append(body["line"])

    async def get(self, _: str) -> Workspace:
        return WORKSPACE

    async def initialized(self, _: str, image: str) -> None:
        self.stored.append(("initialized", image))

    async def reimage(self, _: str, image: str) -> None:
        self.stored.append(("reimage", image))

    async def is_ready(self, *_: Any) -> bool:
        return False

    async def ensure(self, *_: Any) -> str:
        if self.usable is not None:
            raise self.usable
        return "sha256:1"


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(monkeypatch)


@pytest.mark.parametrize("error", [TimeoutError(), AgentUnavailable()], ids=["late", "gone"])
async def test_what_was_cloned_is_kept_when_the_caches_fail(
    project: Project, error: Exception
) -> None:
    async def prepare(_agent: Any, _team: str) -> None:
        assert project.stored == [("initialized", "")]
        raise error

    project.means.prepare = prepare
    await project.fill()
    assert project.clones == 1
    assert project.stored[1:] == [("initialized", "tools"), ("reimage", "tools")]
    assert "dependency caches" in project.said[0]


@pytest.mark.parametrize(
    "error", [NotFound("No version."), Unavailable("It vanished.")], ids=["none", "vanished"]
)
async def test_an_image_that_cannot_be_used_is_not_stored(
    project: Project, error: CloudIDEError
) -> None:
    project.usable = error
    await project.fill()
    assert project.stored == [("initialized", ""), ("initialized", "base")]
    assert error.message in project.said[-1]


async def test_an_image_that_is_not_to_be_had_is_not_stored(project: Project) -> None:
    async def choose_image(_: Workspace, image: str) -> str:
        raise Unavailable(f"{image} is not known now.")

    project.means.choose_image = choose_image
    await project.fill()
    assert project.stored[-1] == ("initialized", "base")
    assert "tools is not known now." in project.said[-1]
