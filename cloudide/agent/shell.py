"""The login shell of a terminal, and the language its programs speak.

A login shell reads `/etc/profile`, and on most systems that replaces the PATH with the
distribution's own, without what the image has put there (`ENV PATH=…`). So the login shell only
reads the profiles and then becomes the interactive shell, with both paths: what a profile puts
before the system's folders comes first, then the image's path, then the rest.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence

_LOGIN = r"""
front= back= met= rest=${PATH}:
while [ -n "${rest}" ]; do
    folder=${rest%%:*} rest=${rest#*:}
    case ":$1:" in
        *":${folder}:"*) met=1 ;;
        *) if [ -n "${met}" ]; then back="${back}:${folder}"; else front="${front}${folder}:"; fi ;;
    esac
done
PATH="${front}$1${back}"
export PATH
shift
unset front back met rest folder
exec "$@"
"""
POSIX = ("sh", "bash", "dash", "ash", "ksh", "mksh", "zsh", "busybox")
LOCALES = "/usr/lib/locale"
DEFAULT_LANG = "C.UTF-8"


def login(shell: Sequence[str], path: str, command: Sequence[str] = ()) -> list[str]:
    """The command that starts `shell` as after a login, with `path` kept.

    `command`: what a POSIX shell becomes in the end; default: itself.
    """
    if os.path.basename(shell[0]) in POSIX:
        return [*shell, "-l", "-c", _LOGIN, "login", path, *(command or shell)]
    return [*shell, "-l"]  # fish, csh: they leave the path alone


def language(environment: Mapping[str, str], folder: str = LOCALES) -> str:
    """A LANG that is UTF-8 and exists: the environment's, if it is such a one."""
    wanted = environment.get("LANG", "")
    name, _, codeset = wanted.partition(".")
    if codeset.partition("@")[0].lower().replace("-", "") != "utf8" or "/" in wanted:
        return DEFAULT_LANG
    if name == "C":
        return wanted
    # What localedef(1) makes: a folder, or an entry of the archive, with the codeset's short name.
    short = f"{name}.utf8{''.join(codeset.partition('@')[1:])}"
    if any(os.path.isdir(os.path.join(folder, known)) for known in (wanted, short)):
        return wanted
    try:
        with (
            open(os.path.join(folder, "locale-archive"), "rb") as archive,
            mmap.mmap(archive.fileno(), 0, prot=mmap.PROT_READ) as content,
        ):
            known = content.find(b"\0" + short.encode() + b"\0") >= 0
    except (OSError, ValueError):  # no archive, or an empty one
        known = False
    return wanted if known else DEFAULT_LANG
