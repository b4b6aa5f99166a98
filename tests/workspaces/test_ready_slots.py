"""Which ready workspace somebody gets, and what it is said to be made from."""

from __future__ import annotations

from typing import Any

import pytest

from cloudide.settings import Settings
from cloudide.workspaces.pool_store import Slot
from cloudide.workspaces.supervisor import Supervisor

URL = "https://example.org/x.git"


class Site:
    """The services that a supervisor asks when it creates one; the rows are not written."""

    def __init__(self) -> None:
        self.created: tuple[str, str, str] | None = None  # id, image, seed

    def renew_token(self, _: str) -> None:
        return None

    async def is_ready(self, *_: Any) -> bool:
        return True

    async def create(self, id: str, _name: str, image: str, *_: Any, **more: Any) -> None:
        self.created = id, image, more["prebuilt"]
        raise LookupError  # nobody takes care of it here

    async def get_image(self, image: str, git_url: str, ready: list[Slot]) -> Any:
        site: Any = self
        supervisor = Supervisor(site, site, site, site, site, site, site, site, Settings())

        async def image_of_prebuild(_team: str, url: str, _ref: str) -> str:
            return "python" if url == URL else ""

        supervisor.means.image_of_prebuild = image_of_prebuild
        for slot in ready:
            supervisor.pools._slots[slot.id] = slot  # pyright: ignore[reportPrivateUsage]
            supervisor.pools._ready.add(slot.id)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(LookupError):
            await supervisor.create("u1", "name", image, git_url)
        return self.created


BASE = Slot("base-slot", "", "base", "v")
PYTHON = Slot("python-slot", "", "python", "v")
FILLED = Slot("filled-slot", "", "python", "v", "b1", "p1", URL)


@pytest.mark.parametrize(
    ("image", "url", "ready", "expected"),
    [
        ("", URL, [BASE, PYTHON, FILLED], ("filled-slot", "python", "p1")),
        ("", URL, [BASE, PYTHON], ("python-slot", "python", "")),
        ("", URL, [BASE], (None, "python", "")),
        ("base", URL, [BASE, PYTHON, FILLED], ("base-slot", "base", "")),
        ("", "https://example.org/y.git", [BASE, FILLED], ("base-slot", "", "")),
        ("", "", [BASE, FILLED], ("base-slot", "base", "")),
    ],
    ids=["filled", "of its image", "of another image", "asked for", "no prebuild", "no project"],
)
async def test_an_empty_one_is_of_the_image_that_the_workspace_has(
    image: str, url: str, ready: list[Slot], expected: tuple[str | None, str, str]
) -> None:
    created = await Site().get_image(image, url, ready)
    if expected[0] is None:
        assert created[0] not in {slot.id for slot in ready}
        created = (None, *created[1:])
    assert created == expected
