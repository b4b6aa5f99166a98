"""Maintenance windows: when they are, who is told, and who is restarted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cloudide.errors import InvalidInput
from cloudide.workspaces.feed import Feed
from cloudide.workspaces.lifecycle import Desired
from cloudide.workspaces.maintenance import Maintenance
from cloudide.workspaces.policies import Policy, Window, check, opening
from cloudide.workspaces.store import Workspace


@pytest.mark.parametrize(
    ("window", "now", "start", "end"),
    [
        # Before, within, at its end, and after it.
        (Window("sunday", 3), "2026-03-07T12:00", "2026-03-08T03:00", "2026-03-08T05:00"),
        (Window("sunday", 3), "2026-03-08T04:59", "2026-03-08T03:00", "2026-03-08T05:00"),
        (Window("sunday", 3), "2026-03-08T05:00", "2026-03-15T03:00", "2026-03-15T05:00"),
        # Over midnight: it began on the day before.
        (Window("sunday", 23, 4), "2026-03-09T02:00", "2026-03-08T23:00", "2026-03-09T03:00"),
        (Window("monday", 0, 24), "2026-03-09T23:59", "2026-03-09T00:00", "2026-03-10T00:00"),
        # 03:00 in Berlin is 02:00 UTC in winter and 01:00 in summer, which begins at 02:00 there.
        (Window("sunday", 3, 1, "Europe/Berlin"), "2026-03-22T00:00", "2026-03-22T02:00",
         "2026-03-22T03:00"),
        (Window("sunday", 3, 1, "Europe/Berlin"), "2026-03-29T00:00", "2026-03-29T01:00",
         "2026-03-29T02:00"),
        (Window("sunday", 2, 1, "Europe/Berlin"), "2026-03-29T00:00", "2026-03-29T01:00",
         "2026-03-29T02:00"),
        # The day there is another one than here.
        (Window("monday", 1, 1, "Pacific/Auckland"), "2026-07-05T10:00", "2026-07-05T13:00",
         "2026-07-05T14:00"),
    ],
    ids=range(9),
)  # fmt: skip
def test_a_window_is_open_at_its_hours_of_its_time_zone(
    window: Window, now: str, start: str, end: str
) -> None:
    found = opening(window, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert [each.strftime("%Y-%m-%dT%H:%M") for each in found] == [start, end]


@pytest.mark.parametrize(
    "window",
    [
        Window("monday", 24),
        Window("monday", -1),
        Window("monday", 1, 0),
        Window("monday", 1, 25),
        Window("monday", 1, 1, "../../etc/passwd"),
        Window("monday", 1, 1, ""),
    ],
    ids=range(6),
)
def test_what_cannot_be_is_refused(window: Window) -> None:
    with pytest.raises(InvalidInput):
        check(Policy(window))


class Kept:
    """A store of policies that forgets."""

    async def all(self) -> dict[str, Policy]:
        return {}

    async def set(self, team: str, policy: Policy) -> None:
        pass


def workspace(id: str, team: str) -> Workspace:
    return Workspace(
        *(id, id, "img_1", "u1", "Ada", team, "Crew", "", "", "", True),
        *(Desired.RUNNING, 1, "", "", 0.0),
    )


async def test_people_are_told_before_and_only_what_is_outdated_and_the_teams_restarts() -> None:
    outdated, newest, others = workspace("w1", "t1"), workspace("w2", "t1"), workspace("w3", "")
    now = datetime(2026, 3, 8, 2, 0, tzinfo=UTC).timestamp()
    clock = [now]
    updated: list[str] = []
    told: list[str] = []

    def about(of: Workspace) -> dict[str, Any]:
        view: dict[str, Any] = {"image": "Crew/tools"}
        if of is not newest and of.id not in updated:
            view["update"] = {"version": 7, "at_start": True}
        return view

    async def update(id: str) -> None:
        updated.append(id)

    class Heard(Feed):
        def publish(self, type: str, workspace: str, body: Any, person: str = "") -> None:
            told.append(f"{workspace}: {body['message']}")

    maintenance = Maintenance(
        Kept(),  # pyright: ignore[reportArgumentType]
        Heard(),
        lambda: [outdated, newest, others],
        about,
        update,
        now=lambda: clock[0],
        grace=60,
    )
    await maintenance.set("t1", Policy(Window("sunday", 3)))
    assert maintenance.about(outdated)["update"]["forced_at"] == "2026-03-08T03:00:00+00:00"
    assert "forced_at" not in maintenance.about(others)["update"]
    await maintenance.look()
    assert told == []
    clock[0] += 50 * 60
    for _ in range(3):
        await maintenance.look()
    assert [line[:39] for line in told] == ["w1: This workspace restarts in 10 minut"]
    clock[0] += 10 * 60
    await maintenance.look()
    assert "within a minute, with version 7 of Crew/tools" in told[1]
    clock[0] += 59
    await maintenance.look()
    assert updated == []
    clock[0] += 1
    await maintenance.look()
    await maintenance.look()
    assert updated == ["w1"]
    assert len(told) == 2

    # After the window nobody is restarted, whatever is outdated then.
    updated.clear()
    clock[0] += 2 * 3600
    for _ in range(3):
        await maintenance.look()
    assert (updated, len(told)) == ([], 2)
