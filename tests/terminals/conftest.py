from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from shared import Shared, shared


@pytest.fixture
async def sharing(tmp_path: Path) -> AsyncIterator[Shared]:
    async with shared(tmp_path) as sharing:
        yield sharing
