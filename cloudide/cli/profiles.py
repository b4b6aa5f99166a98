"""Profiles: the servers that somebody uses, each with the token of `cloudide login`.

They are in `~/.config/cloudide/config.toml` (or below `XDG_CONFIG_HOME`), for their owner's eyes
alone:

    current = "work"

    [profiles.work]
    url = "https://ide.example.org"
    token = "cide_…"
"""

from __future__ import annotations

import os
import re
import secrets
import tomllib
from pathlib import Path

import msgspec
import tomli_w

from cloudide.errors import InvalidInput, NotFound

DEFAULT = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Profile(msgspec.Struct, frozen=True):
    url: str
    token: str = ""


class Profiles(msgspec.Struct):
    """All of them; `current` is used where none is named."""

    current: str = ""
    profiles: dict[str, Profile] = {}

    def get(self, name: str) -> Profile:
        """Raises: NotFound: there is no such profile."""
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise NotFound(f"There is no profile {name!r}; there are: {known}.")
        return self.profiles[name]


def path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cloudide" / "config.toml"


def load() -> Profiles:
    """Raises: InvalidInput: the file cannot be read; the message says which and why."""
    try:
        content = path().read_text()
    except FileNotFoundError:
        return Profiles()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path()} cannot be read: {error}") from error
    try:
        return msgspec.convert(tomllib.loads(content), Profiles)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise InvalidInput(f"{path()} is not as it should be: {error}") from error


def save(profiles: Profiles) -> None:
    """Write all of them, or nothing. Raises: InvalidInput: the file cannot be written."""
    file = path()
    content = tomli_w.dumps(msgspec.to_builtins(profiles))
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as output:
            output.write(content)
            output.flush()
            os.fsync(output.fileno())
        draft.replace(file)
    except OSError as error:
        draft.unlink(missing_ok=True)
        raise InvalidInput(f"{file} cannot be written: {error}") from error


def checked(name: str) -> str:
    """Raises: InvalidInput: this cannot name a profile."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"{name!r} cannot name a profile; use letters, digits, '.', '_' and '-'."
        )
    return name
