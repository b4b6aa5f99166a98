from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from server import Server, serving


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A running server for the tests that leave it running."""
    async with serving(tmp_path_factory.mktemp("server") / "data") as server:
        yield server
