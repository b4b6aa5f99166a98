from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from server import Server
from site_of_people import People, people_of


@pytest.fixture(scope="session")
async def people(server: Server) -> AsyncIterator[People]:
    """Ada, who owns the server and a workspace, and guests of every role."""
    async with people_of(server) as people:
        yield people
