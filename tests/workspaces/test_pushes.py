"""Which prebuilds are made anew when somebody pushes from a workspace, and how often."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from cloudide.errors import NotFound
from cloudide.git.actions import Actions, Kind, Order, View
from cloudide.identity.permissions import Person
from cloudide.settings import Settings
from cloudide.workspaces import prebuilds
from cloudide.workspaces.prebuild_store import Prebuild
from cloudide.workspaces.prebuilds import PUSH_SECONDS, Prebuilds

URL = "https://example.org/x"


def declared(id: str, team: str, ref: str) -> Prebuild:
    return Prebuild(id, team, "base", URL, ref, 0, "ready", "", "c", "p", 1, 1)


class Declared:
    """The rows of some prebuilds, of which `queued` have been asked for; `gone` was deleted."""

    def __init__(self) -> None:
        self.all = [
            declared("site", "", "main"),
            declared("own", "t1", "main"),
            declared("other", "t2", "main"),
            declared("branch", "t1", "next"),
            declared("default", "t1", ""),
            declared("known", "t1", ""),
            declared("gone", "t1", "main"),
        ]
        self.queued: list[str] = []

    async def of_repository(self, urls: list[str]) -> list[Prebuild]:
        return self.all if f"{URL}.git" in urls else []

    async def queue(self, id: str) -> None:
        if id == "gone":
            raise NotFound
        self.queued.append(id)

    async def stale(self) -> list[str]:
        return []

    async def due(self, _: float) -> None:
        return None


async def test_a_push_is_heard_by_its_team_and_the_site_and_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(prebuilds, "time", SimpleNamespace(monotonic=lambda: now, time=lambda: now))
    store: Any = Declared()
    nobody: Any = SimpleNamespace()
    made = Prebuilds(store, nobody, nobody, nobody, nobody, nobody, Settings())
    made._default_branches["known"] = "trunk"  # pyright: ignore[reportPrivateUsage]
    step: Callable[[], Any] = made._step  # pyright: ignore[reportPrivateUsage]

    await made.pushed("t1", f"{URL}.git", "main")
    await step()
    assert store.queued == ["site", "own", "default"]
    await made.pushed("t1", URL, "trunk")
    await step()
    assert store.queued[3:] == ["known"]  # `default` may be of this branch, but has just been heard

    # Many soon after one another have one made, which is not forgotten.
    now += 1
    for _ in range(3):
        await made.pushed("t1", f"{URL}/", "main")
    assert 0 < await step() < PUSH_SECONDS
    assert len(store.queued) == 4
    now += PUSH_SECONDS
    await step()
    assert sorted(store.queued[4:]) == ["default", "own", "site"]


async def test_what_was_pushed_is_done_whoever_fails_to_hear_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str, str, str]] = []
    seen: list[View] = []

    async def on_pushed(workspace: str, url: str, branch: str) -> None:
        assert [view.state for view in seen] == ["running", "done"]
        heard.append((workspace, url, branch))
        raise NotFound("There is no such prebuild.")

    async def done(*_: Any) -> None:
        return None  # Git has done what was asked

    monkeypatch.setattr(Actions, "_do", done)
    anybody: Any = SimpleNamespace(agent=lambda workspace: None)
    push = Order(
        kind=Kind.PUSH, directory="", remote="origin", url=URL, branch="main", commit="0" * 40
    )
    actions = Actions(anybody, anybody, 1.0)
    actions.on_pushed = on_pushed
    actions.on_change = lambda workspace, view: seen.append(view)
    async with actions:
        begun = actions.begin("w1", Person("u1", "Ada", "#123456"), push, signs_in=False)
        task = actions._actions["w1"][begun.id].task  # pyright: ignore[reportPrivateUsage]
        assert task is not None
        await task
    assert heard == [("w1", URL, "main")]
    assert [view.state for view in seen] == ["running", "done"]
