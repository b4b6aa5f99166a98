"""The base image's package sources follow the archive that made it."""

from __future__ import annotations

import pytest

from cloudide.images.debian import _with_updates


@pytest.mark.parametrize(
    "archive", ["http://mirror.example/debian", "http://mirror.example/debian/"]
)
def test_updates_come_from_the_same_archive(archive: str) -> None:
    assert _with_updates(f"deb {archive} bookworm main\n").splitlines() == [
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/debian-security bookworm-security main",
    ]
