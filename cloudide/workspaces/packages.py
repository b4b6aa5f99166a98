"""Which packages a project depends on, as it was set up: names and versions, checked. Pure.

They come from a container that ran the project's own code, so that nothing is taken from there but
names of packages at registries; the packages themselves are fetched from those, elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

SITE_PACKAGES = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._]*)-([0-9][A-Za-z0-9.!+_]*)\.dist-info$")
_NPM_NAME = re.compile(r"(?:@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*")
_SEMVER = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")
_GO = re.compile(r"([a-z0-9][\w.~/-]*\.[\w.~/-]*) (v[0-9]+\.[\w.+-]+) h1:[A-Za-z0-9+/=]+")
LENGTH = 200  # characters of a name with its version


class Packages(msgspec.Struct, frozen=True):
    """`name==version` for pip, `name@version` for npm, `module@version` for Go; the newest last.

    Of a shared cache those for pip are in the folder of a repository: `folder/name==version`.
    """

    pip: list[str] = []
    npm: list[str] = []
    go: list[str] = []

    def __bool__(self) -> bool:
        return bool(self.pip or self.npm or self.go)

    def with_(self, newer: Packages, limit: int) -> Packages:
        """Both; of more than `limit` of a kind the newest."""
        return Packages(
            _joined(self.pip, newer.pip, limit),
            _joined(self.npm, newer.npm, limit),
            _joined(self.go, newer.go, limit),
        )

    def of_repository(self, folder: str, limit: int) -> Packages:
        """As a shared cache has them, of a kind up to `limit`; with `folder` "" none for pip."""
        pip = [f"{folder}/{each}" for each in self.pip] if folder else []
        return Packages(pip[-limit:], self.npm[-limit:], self.go[-limit:])

    def without(self, known: Packages) -> Packages:
        return Packages(
            _less(self.pip, known.pip), _less(self.npm, known.npm), _less(self.go, known.go)
        )


def _less(names: list[str], known: list[str]) -> list[str]:
    had = set(known)
    return [each for each in names if each not in had]


def _joined(older: list[str], newer: list[str], limit: int) -> list[str]:
    fresh = set(newer)
    return [*(each for each in older if each not in fresh), *newer][-limit:]


def of_python(paths: Iterable[str]) -> list[str]:
    """What is installed, of the paths of its `.dist-info` folders (PyPA, "Recording installs")."""
    found = (SITE_PACKAGES.search(path) for path in paths)
    return _kept(f"{each[1].lower()}=={each[2]}" for each in found if each)


def of_npm(lock: bytes) -> list[str]:
    """What a `package-lock.json` of version 2 or 3 names that comes from a registry."""
    try:
        content = msgspec.json.decode(lock)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    packages = content.get("packages") if isinstance(content, dict) else None
    found: list[str] = []
    for path, about in packages.items() if isinstance(packages, dict) else ():
        name = path.rpartition("node_modules/")[2]
        if not isinstance(about, dict) or not isinstance(about.get("integrity"), str):
            continue
        name = about.get("name", name)  # of an alias
        version = about.get("version")
        if not (isinstance(name, str) and isinstance(version, str)):
            continue
        if _NPM_NAME.fullmatch(name) and _SEMVER.fullmatch(version):
            found.append(f"{name}@{version}")
    return _kept(found)


def of_go(sums: str) -> list[str]:
    """The modules of a `go.sum`."""
    found = (_GO.fullmatch(line.strip()) for line in sums.splitlines())
    return _kept(f"{each[1]}@{each[2]}" for each in found if each)


def _kept(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(each for each in names if len(each) <= LENGTH))
