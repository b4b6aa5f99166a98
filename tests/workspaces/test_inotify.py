"""Limits are raised where they are too low, left where they are not, and reported otherwise."""

from __future__ import annotations

from pathlib import Path

from cloudide.workspaces.inotify import WANTED, raise_limits


def test_low_limits_are_raised_and_high_ones_kept(tmp_path: Path) -> None:
    (tmp_path / "max_user_instances").write_text("128\n")
    (tmp_path / "max_user_watches").write_text("9999999\n")
    assert raise_limits(tmp_path) == []
    assert (tmp_path / "max_user_instances").read_text() == str(WANTED["max_user_instances"])
    assert (tmp_path / "max_user_watches").read_text() == "9999999\n"


def test_a_limit_out_of_reach_is_reported_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "max_user_watches").write_text("9999999\n")
    (warning,) = raise_limits(tmp_path)
    assert "sysctl fs.inotify.max_user_instances" in warning
