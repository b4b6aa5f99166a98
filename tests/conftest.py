from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable

import pytest
from server import Server, serving

SOAK = os.environ.get("CLOUDIDE_SOAK") == "1"
SOAK_SECONDS = 12 * 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The full counts of the promises take hours, where the everyday sample takes seconds."""
    if SOAK:
        for item in items:
            item.add_marker(pytest.mark.timeout(SOAK_SECONDS), append=False)


@pytest.fixture(scope="session")
def soak() -> Callable[[int, int], int]:
    """`soak(full, sample)`: how often a promise is tried in this run."""
    return lambda full, sample: full if SOAK else sample


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Server]:
    """A running server for the tests that leave it running."""
    async with serving(tmp_path_factory.mktemp("server") / "data") as server:
        yield server
