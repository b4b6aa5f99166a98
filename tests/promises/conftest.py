from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from local import Collab, collaborating


@pytest.fixture
async def collab(tmp_path: Path) -> AsyncIterator[Collab]:
    async with collaborating(tmp_path) as collab:
        yield collab
