"""Build contexts: archives that people upload, made into one canonical tar and kept by its hash.

Entries are sorted and have no times and owners, so that the same files are the same context,
whoever packed them, and the engine's cache holds. What an archive may hold is bounded before
anything of it is believed (promise 17): size, entries, depth; a path that climbs out, a link that
leads out, a device, refuse the whole of it.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import posixpath
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

import msgspec

from cloudide.errors import InvalidInput, NotFound, TooLarge

PATH_LIMIT = 1024  # characters
CHUNK = 1024 * 1024
IGNORE_LIMIT = 64 * 1024  # bytes
OURS = (".dockerignore", ".cloudide.Dockerfile", ".ca", ".git")


class ContextLimits(msgspec.Struct, frozen=True):
    size: int  # bytes, unpacked
    entries: int


class Entry(msgspec.Struct):
    """`at`, `size`: where its content lies in the scratch file. `link`: of a symbolic link."""

    path: str
    mode: int
    at: int = 0
    size: int = 0
    link: str = ""
    folder: bool = False


class Contexts:
    """Contexts in a folder of the server's; its functions block."""

    def __init__(self, folder: Path, limits: ContextLimits) -> None:
        self._folder = folder
        self._limits = limits
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        return self._folder

    def add(self, archive: Path, *, below: str = "", whole: bool = False) -> str:
        """Keep what an archive (`.tar`, `.tar.gz`, `.zip`) holds; its hash.

        `below`: only that folder of it. `whole`: also what its `.dockerignore` leaves out.

        Raises:
            InvalidInput: it is no archive, or holds what a context may not. TooLarge.
        """
        scratch = archive.with_name(archive.name + ".content")
        made = archive.with_name(archive.name + ".context")
        try:
            with scratch.open("w+b") as content:
                entries = _below(self._read(archive, content), below)
                if not whole:
                    entries = _without_ignored(entries, content)
                digest = _write(made, entries, content)
            made.replace(self.path(digest))
            return digest
        finally:
            scratch.unlink(missing_ok=True)
            made.unlink(missing_ok=True)

    def derive(
        self, digest: str, below: str, ours: str, files: Mapping[str, tuple[bytes, int]]
    ) -> str:
        """Keep another context: a folder of one (digest "": nothing), without what it ignores, and
        with some files (content and mode, by path) in a folder `ours`, which it has not.

        Raises:
            NotFound: the context is gone. InvalidInput: it has no such folder.
        """
        handle, name = tempfile.mkstemp(dir=self._folder, prefix="derived-")
        os.close(handle)
        scratch, made = Path(name), Path(f"{name}.context")
        try:
            with scratch.open("w+b") as content:
                entries: list[Entry] = []
                if digest:
                    found = _below(self._read(self._expect(digest), content), below)
                    entries = [
                        each
                        for each in _without_ignored(found, content)
                        if each.path.partition("/")[0] != ours
                    ]
                content.seek(0, os.SEEK_END)
                for path, (text, mode) in files.items():
                    entries.append(Entry(path, mode, at=content.tell(), size=len(text)))
                    content.write(text)
                derived = _write(made, sorted(entries, key=lambda each: each.path), content)
            made.replace(self.path(derived))
            return derived
        finally:
            scratch.unlink(missing_ok=True)
            made.unlink(missing_ok=True)

    def _expect(self, digest: str) -> Path:
        path = self.path(digest)
        if not path.is_file():
            raise NotFound("The build context is no longer there; upload it again.")
        return path

    def path(self, digest: str) -> Path:
        return self._folder / f"{digest}.tar"

    def dockerfile(self, digest: str, path: str) -> str:
        """The text of a file of a context.

        Raises:
            NotFound: the context is gone. InvalidInput: it has no such file, or it is not text.
        """
        try:
            with tarfile.open(self.path(digest)) as tar:
                member = tar.getmember(path)
                file = tar.extractfile(member) if member.isfile() else None
                if file is None or member.size > 1024 * 1024:
                    raise KeyError(path)
                return file.read().decode()
        except FileNotFoundError as error:
            raise NotFound("The build context is no longer there; upload it again.") from error
        except (KeyError, UnicodeDecodeError) as error:
            raise InvalidInput(f"The build context has no file {path!r} that is text.") from error

    def names(self, digest: str) -> list[str]:
        """The paths in a context. Raises: NotFound: it is gone."""
        with tarfile.open(self._expect(digest)) as tar:
            return tar.getnames()

    def collect(self, needed: Iterable[str], older_than: float) -> None:
        """Remove contexts that nothing needs, unless younger than a time (seconds since 1970)."""
        names = {f"{digest}.tar" for digest in needed}
        for path in self._folder.iterdir():
            if path.name not in names and path.stat().st_mtime < older_than:
                if path.is_dir():  # a server ended while it read a configuration there
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)

    def _read(self, archive: Path, content: IO[bytes]) -> list[Entry]:
        try:
            if zipfile.is_zipfile(archive):
                with zipfile.ZipFile(archive) as opened:
                    return self._take(_from_zip(opened), content)
            with archive.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as tar:
                return self._take(_from_tar(tar), content)
        except (
            tarfile.TarError,
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            OSError,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise InvalidInput(
                f"This is no archive that can be read (.tar, .tar.gz or .zip): {error}."
            ) from error

    def _take(
        self, found: Iterable[tuple[Entry, IO[bytes] | None]], content: IO[bytes]
    ) -> list[Entry]:
        entries: dict[str, Entry] = {}
        total = 0
        for seen, (entry, file) in enumerate(found, 1):
            if seen > self._limits.entries:
                raise TooLarge(
                    f"The build context has more than {self._limits.entries:,} files and folders."
                )
            entry.path = _safe(entry.path)
            if not entry.path:
                continue
            if entry.link:
                _check_link(entry)
            if file is not None:
                entry.at = content.tell()
                # What is there is counted, not what an archive says of itself.
                while chunk := file.read(CHUNK):
                    total += len(chunk)
                    if total > self._limits.size:
                        raise TooLarge(
                            "The build context is larger than "
                            f"{self._limits.size // 1024**2:,} MiB. Leave out what the build does "
                            "not need."
                        )
                    content.write(chunk)
                entry.size = content.tell() - entry.at
            entries[entry.path] = entry
        links = {path for path, entry in entries.items() if entry.link}
        for path in entries:
            for parent in _parents(path):
                if parent in links:
                    raise InvalidInput(f"The build context has {path!r} below a link.")
        return sorted(entries.values(), key=lambda entry: entry.path)


def _from_tar(tar: tarfile.TarFile) -> Iterator[tuple[Entry, IO[bytes] | None]]:
    for member in tar:
        mode = 0o755 if member.mode & 0o100 else 0o644
        if member.isdir():
            yield Entry(member.name, 0o755, folder=True), None
        elif member.issym():
            yield Entry(member.name, 0o777, link=member.linkname), None
        elif member.isfile():
            yield Entry(member.name, mode), tar.extractfile(member)
        else:
            kind = "a hard link" if member.islnk() else "a device or pipe"
            raise InvalidInput(f"The build context has {kind}: {member.name[:200]!r}.")


def _from_zip(archive: zipfile.ZipFile) -> Iterator[tuple[Entry, IO[bytes] | None]]:
    for info in archive.infolist():
        mode = info.external_attr >> 16
        if info.is_dir():
            yield Entry(info.filename, 0o755, folder=True), None
        elif mode & 0o170000 == 0o120000:
            with archive.open(info) as file:
                target = file.read(PATH_LIMIT + 1).decode(errors="replace")
            yield Entry(info.filename, 0o777, link=target), None
        else:
            with archive.open(info) as file:
                yield Entry(info.filename, 0o755 if mode & 0o100 else 0o644), file


def _safe(path: str) -> str:
    """The path in its plain form; "" for the root."""
    if len(path) > PATH_LIMIT or "\0" in path or "\\" in path:
        raise InvalidInput(f"The build context has a path that cannot be used: {path[:200]!r}.")
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidInput(f"The build context has a path that climbs out of it: {path[:200]!r}.")
    plain = posixpath.normpath(path)
    return "" if plain == "." else plain


def _check_link(entry: Entry) -> None:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(entry.path), entry.link))
    outside = entry.link.startswith("/") or target == ".." or target.startswith("../")
    if outside or len(entry.link) > PATH_LIMIT or "\0" in entry.link:
        raise InvalidInput(f"The build context has a link that leads out of it: {entry.path!r}.")


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path


def _below(entries: list[Entry], folder: str) -> list[Entry]:
    folder = _safe(folder) if folder else ""
    if not folder:
        return entries
    inner = [each for each in entries if each.path.startswith(f"{folder}/")]
    if not inner:
        raise InvalidInput(f"There is no folder {folder!r} in it.")
    for each in inner:
        each.path = each.path.removeprefix(f"{folder}/")
        if each.link:
            _check_link(each)
    return inner


def _without_ignored(entries: list[Entry], content: IO[bytes]) -> list[Entry]:
    """As the docker client does it before it sends a context: what `.dockerignore` names stays
    out, but for the Dockerfiles. Names that are ours do as well."""
    # It says that it takes paths, and takes text alone.
    from docker.utils.build import PatternMatcher

    ignored = next((each for each in entries if each.path == ".dockerignore"), None)
    matcher = None
    if ignored is not None and 0 < ignored.size <= IGNORE_LIMIT:
        content.seek(ignored.at)
        lines = content.read(ignored.size).decode(errors="replace").splitlines()
        patterns = [line.strip() for line in lines]
        matcher = PatternMatcher([each for each in patterns if each and not each.startswith("#")])
    return [
        each
        for each in entries
        if each.path.partition("/")[0] not in OURS
        and (
            matcher is None
            or _is_dockerfile(each.path)
            or not matcher.matches(cast(Path, each.path))
        )
    ]


def _is_dockerfile(path: str) -> bool:
    return "dockerfile" in posixpath.basename(path).lower()


def _write(path: Path, entries: list[Entry], content: IO[bytes]) -> str:
    """Write the canonical tar; its SHA-256."""
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
        for entry in entries:
            info = tarfile.TarInfo(entry.path)
            info.mode = entry.mode
            if entry.folder:
                info.type = tarfile.DIRTYPE
                tar.addfile(info)
            elif entry.link:
                info.type, info.linkname = tarfile.SYMTYPE, entry.link
                tar.addfile(info)
            else:
                info.size = entry.size
                content.seek(entry.at)
                tar.addfile(info, content)
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
        os.fsync(file.fileno())
    return total.hexdigest()


def packed(files: dict[str, bytes]) -> bytes:
    """The beginning of a tar, with a few files; another tar is its rest."""
    archive = io.BytesIO()
    # Not closed, which would write its end.
    tar = tarfile.open(fileobj=archive, mode="w")  # noqa: SIM115
    for path, text in sorted(files.items()):
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(text), 0o644
        tar.addfile(info, io.BytesIO(text))
    return archive.getvalue()
