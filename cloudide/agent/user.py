"""Who the agent runs as: home, shell and environment of the programs it starts."""

from __future__ import annotations

import os
import sys

from cloudide.agent.failures import Refused
from cloudide.agent.shell import language

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELLS = ("/bin/bash", "/usr/bin/bash", "/bin/sh", "/bin/ash")
BUSYBOXES = ("/bin/busybox", "/usr/bin/busybox", "/busybox")
NOT_SHELLS = ("nologin", "false", "sync")
AGENT_ONLY = ("CLOUDIDE_LINK", "CLOUDIDE_ROOT")
# Where these are set, full-screen programs (ncurses) take no notice of a terminal's size.
SIZES = ("COLUMNS", "LINES")


class User:
    """The user of this process, whether or not the image has a line for it in /etc/passwd."""

    def __init__(self, root: str) -> None:
        self.uid = os.getuid()
        name, home, shell = _passwd(self.uid)
        self.name = name or os.environ.get("USER") or str(self.uid)
        # An engine sets HOME to / for a user the image does not know.
        homes = (os.environ.get("HOME"), home)
        self.home = next((h for h in homes if h and h != "/" and os.path.isdir(h)), root)
        self.shell = _shell(shell)
        self.environment = self._environment()

    def _environment(self) -> dict[str, str]:
        environment = {k: v for k, v in os.environ.items() if k not in (*AGENT_ONLY, *SIZES)}
        # A bundle that needs variables to find itself keeps them to itself.
        if environment.get("PYTHONHOME") == sys.prefix:
            for name in ("PYTHONHOME", "PYTHONPATH", "PYTHONSAFEPATH", "LD_LIBRARY_PATH"):
                environment.pop(name, None)
        environment.setdefault("PATH", PATH)
        environment["LANG"] = language(environment)
        environment |= {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}
        environment["SHELL"] = self.shell[0]
        return environment


def find_program(name: str, search_path: str) -> str:
    """The file that a command names; one with a slash is taken as it is.

    Raises:
        Refused: there is no such program.
    """
    if "/" in name:
        return name
    for folder in search_path.split(":"):
        candidate = os.path.join(folder, name)
        if name and folder.startswith("/") and _executable(candidate):
            return candidate
    raise Refused("not_found", f"The program {name!r} is not installed in this workspace.")


def _passwd(uid: int) -> tuple[str, str, str]:
    import pwd

    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return "", "", ""
    return entry.pw_name, entry.pw_dir, entry.pw_shell


def _shell(preferred: str) -> list[str]:
    for shell in (preferred, os.environ.get("SHELL", ""), *SHELLS):
        if os.path.basename(shell) not in NOT_SHELLS and _executable(shell):
            return [shell]
    for busybox in BUSYBOXES:
        if _executable(busybox):
            return [busybox, "sh"]
    return ["/bin/sh"]


def _executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
