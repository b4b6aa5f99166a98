"""The kernel's inotify limits, which all workspaces of one user id share with the whole machine.

Each agent watches its files with one instance; the kernel's default of 128 instances is soon used
up, and one container could take them all (inotify(7), /proc interfaces).
"""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path("/proc/sys/fs/inotify")
WANTED = {"max_user_instances": 4096, "max_user_watches": 1_048_576}


def raise_limits(folder: Path = _FOLDER) -> list[str]:
    """Raise the limits to what many workspaces need; a sentence for each that stays too low."""
    warnings: list[str] = []
    for name, wanted in WANTED.items():
        file = folder / name
        try:
            present = int(file.read_text())
            if present < wanted:
                file.write_text(str(wanted))
        except (OSError, ValueError):
            warnings.append(
                f"fs.inotify.{name} could not be raised to {wanted}: file changes made outside "
                "the editor may be noticed late. As root: "
                f"sysctl fs.inotify.{name}={wanted}"
            )
    return warnings
