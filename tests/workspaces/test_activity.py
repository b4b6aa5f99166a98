"""What keeps a workspace alive, with a clock that is moved by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from cloudide.errors import EngineUnavailable
from cloudide.settings import Settings
from cloudide.web.activity import of_document, of_documents, of_terminal
from cloudide.workspaces.activity import Activity, Hold, Kind, at_work
from cloudide.workspaces.feed import Feed

MINUTE = 60.0


class House:
    """An `Activity` with workspaces, holds and time as a test says."""

    def __init__(self, **settings: Any) -> None:
        self.now = 1000.0
        self.running = ["w1", "w2"]
        self.holds: list[Hold] = []
        self.stopped: list[str] = []
        self.failing = False
        feed = Feed()
        self.watcher = feed.watch()
        self.watcher.workspaces.add("w1")
        self.activity = Activity(
            Settings(**settings),
            feed,
            lambda: self.running,
            self._holds,
            self._stop,
            lambda: self.now,
        )

    def _holds(self, workspace: str) -> Sequence[Hold]:
        return self.holds if workspace == "w1" else []

    async def _stop(self, workspace: str) -> None:
        if self.failing:
            raise EngineUnavailable
        self.stopped.append(workspace)
        self.running.remove(workspace)

    async def after(self, minutes: float) -> None:
        """Look as often as the loop would, for so many minutes."""
        end = self.now + minutes * MINUTE
        while self.now < end:
            await self.activity.look()
            self.now = min(end, self.now + 15)
        await self.activity.look()

    def told(self) -> list[Any]:
        """What watchers of w1 were told since they were last asked."""
        queue = self.watcher._queue
        told = [event.body["stops_at"] for event in queue if event.type == "activity"]
        queue.clear()
        return told


@pytest.fixture
def house() -> House:
    return House()


async def test_nobody_there_is_warned_and_stopped(house: House) -> None:
    await house.after(27.9)
    assert (house.told(), house.stopped) == ([], [])
    await house.after(0.2)
    (stops_at,) = house.told()
    assert stops_at is not None
    assert house.activity.warning("w1") is not None
    await house.after(1.8)
    assert house.stopped == []
    await house.after(0.2)
    assert sorted(house.stopped) == ["w1", "w2"]
    assert house.activity.view("w1")["stops_at"] is None


@pytest.mark.parametrize("kind", list(Kind))
async def test_each_kind_of_activity_keeps_it(house: House, kind: Kind) -> None:
    await house.after(29)
    assert len(house.told()) == 1
    house.activity.touch("w1", kind)
    assert house.told() == [None]  # at once, so that the banner goes
    await house.after(27)
    assert house.stopped == ["w2"]
    assert list(house.activity.view("w1")["last"]) == [kind]
    await house.after(4)
    assert house.stopped == ["w2", "w1"]


async def test_a_hold_keeps_it_and_its_end_counts(house: House) -> None:
    await house.after(29)
    house.holds = [Hold("task", "train")]
    await house.after(300)
    assert "w1" not in house.stopped
    assert house.told()[-1] is None
    view = house.activity.view("w1")
    assert view["stops_at"] is None
    assert view["holds"] == [Hold("task", "train")]
    house.holds = []
    await house.after(27)
    assert "w1" not in house.stopped
    await house.after(4)
    assert "w1" in house.stopped


async def test_a_program_that_is_looked_at_holds_as_long_as_that(house: House) -> None:
    hold = Hold("program", "make")
    with house.activity.holding("w1", hold):
        await house.after(100)
        with house.activity.holding("w1", hold):
            assert house.activity.view("w1")["holds"] == [hold, hold]
    await house.after(29)
    assert house.stopped == ["w2"]
    await house.after(2)
    assert house.stopped == ["w2", "w1"]


async def test_one_that_starts_again_begins_anew(house: House) -> None:
    await house.after(31)
    house.running.append("w1")
    await house.after(27)
    assert house.stopped.count("w1") == 1
    await house.after(4)
    assert house.stopped.count("w1") == 2


async def test_a_stop_that_fails_is_tried_again(house: House) -> None:
    house.failing = True
    await house.after(31)
    assert house.stopped == []
    house.failing = False
    await house.activity.look()
    assert "w1" in house.stopped


async def test_never(house: House) -> None:
    never = House(idle_minutes=0)
    async with never.activity:
        assert never.activity.view("w1")["stops_at"] is None
        never.activity.touch("w1", Kind.EDIT)


async def test_what_does_not_run_is_not_known(house: House) -> None:
    house.activity.touch("gone", Kind.EDIT)
    await house.activity.look()
    assert house.activity.view("gone") == {
        "idle_minutes": 30,
        "last": {},
        "holds": [],
        "stops_at": None,
        "warning": False,
    }


@pytest.mark.parametrize(
    ("terminal", "what"),
    [
        ({"command": ["/bin/bash"]}, None),
        ({"command": ["/bin/busybox", "sh"]}, None),
        ({"command": ["/bin/bash"], "foreground": ""}, None),
        ({"command": ["/bin/bash"], "foreground": "python train.py"}, "python train.py"),
        ({"command": ["python", "train.py"]}, "python train.py"),
        ({"command": ["sh", "-c", "make"]}, "sh -c make"),
        ({"command": ["python", "train.py"], "exit": {"code": 0}}, None),
        ({"command": ["/bin/bash"], "foreground": "x", "exit": {"signal": 9}}, None),
    ],
)
def test_what_is_at_work_in_a_terminal(terminal: dict[str, Any], what: str | None) -> None:
    assert at_work([terminal]) == ([Hold("terminal", what)] if what else [])


def test_which_messages_are_somebody_s_doing() -> None:
    assert of_document(b"\x00\x02\x05hello") is Kind.EDIT
    for frame in (b"\x00\x00\x01\x00", b"\x00\x01\x02\x00\x00", b"\x01\x05", b"", "text"):
        assert of_document(frame) is None
    for name in (b"a.py", b"n" * 200):
        key = bytes([len(name)]) if len(name) < 128 else bytes([len(name) & 0x7F | 0x80, 1])
        assert of_documents(key + name + b"\x00\x02\x01x") is Kind.EDIT
        assert of_documents(key + name + b"\x01\x02\x01x") is None
    for frame in (b"", b"\x05", "text", b"\xff\xff\xff\xff"):
        assert of_documents(frame) is None


@pytest.mark.parametrize(
    ("frame", "typed"),
    [
        (b"l", True),
        (b"\r", True),
        (b"\x1b", True),
        (b"\x1b[A", True),
        (b"\x1bOP", True),
        (b"\x1b[200~pasted\x1b[201~", True),
        (b"\x1b[?1;2c", False),
        (b"\x1b[>0;276;0c", False),
        (b"\x1b[0n", False),
        (b"\x1b[12;40R", False),
        (b"\x1b[I", False),
        (b"\x1b[O", False),
        (b"\x1b[?2004;1$y", False),
        (b"\x1b]11;rgb:ffff/ffff/ffff\x1b\\", False),
        (b"\x1b[I\x1b[12;40R", False),
        (b"\x1b[Ix", True),
        ('{"type":"resize"}', False),
    ],
)
def test_an_emulator_s_answers_are_not_typed(frame: bytes | str, typed: bool) -> None:
    assert (of_terminal(frame) is Kind.TYPING) == typed
