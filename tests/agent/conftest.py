from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from linked import Linked, linked

from cloudide.agent.beneath import Root


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    (tmp_path / "root").mkdir()
    root = Root(tmp_path / "root")
    yield root
    root.close()


@pytest.fixture(params=["openat2", "walk"])
def either_root(root: Root, request: pytest.FixtureRequest) -> Root:
    """A root resolved by the kernel, and one walked by us as where openat2 is missing."""
    root.walks = request.param == "walk"
    return root


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[Linked]:
    async with linked(tmp_path) as link:
        yield link
