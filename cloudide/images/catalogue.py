"""The stock images: what is in `images/`, read without asking the engine.

Each folder with an `image.toml` is one: `title`, `description` and optionally `parent`, another
stock image (else the Debian base); with `on_demand` it is built when somebody first asks for it,
all others ahead. The version of an image is a hash of its folder and of its
parent's version, so that it is known before anything is built and changes when anything in it does.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import msgspec

import cloudide

PACKAGE = Path(cloudide.__file__).parent
DEBIAN = "debian:bookworm-slim"
AGENT = "agent"
IGNORED = {"__pycache__", ".ca"}


class StockImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image of the catalogue; `files` is its build context, content by path.

    The content is held, not read again: what is built is what the version was computed from.
    """

    id: str
    title: str
    description: str
    parent: str | None
    version: str
    files: dict[str, bytes]
    on_demand: bool = False

    @property
    def tag(self) -> str:
        return f"{self.repository}:{self.version}"

    @property
    def repository(self) -> str:
        return f"cloudide/{self.id}"


class _Description(msgspec.Struct, forbid_unknown_fields=True):
    title: str
    description: str
    parent: str | None = None
    on_demand: bool = False


def folder() -> Path:
    """`images/`: inside an installed package, else beside the package in a checkout."""
    packaged = PACKAGE / "images" / "contexts"
    return packaged if packaged.is_dir() else PACKAGE.parent / "images"


def read(root: Path | None = None) -> dict[str, StockImage]:
    """All stock images by id, each after its parent."""
    root = root or folder()
    described = {
        path.parent.name: msgspec.convert(tomllib.loads(path.read_text()), _Description)
        for path in sorted(root.glob("*/image.toml"))
    }
    images: dict[str, StockImage] = {}

    def add(id: str) -> StockImage:
        if id not in images:
            description = described[id]
            parent = add(description.parent) if description.parent else None
            files = dict(context(root / id))
            images[id] = StockImage(
                id=id,
                title=description.title,
                description=description.description,
                parent=description.parent,
                version=version(files, parent.version if parent else DEBIAN),
                files=files,
                on_demand=description.on_demand,
            )
        return images[id]

    for id in described:
        add(id)
    return images


def agent(root: Path | None = None, package: Path = PACKAGE) -> StockImage:
    """The image that the agent's volume is filled from: its folder and the code it runs."""
    files = dict(context((root or folder()) / AGENT))
    for name in ("__init__.py", "errors.py", "agent", "protocol"):
        path = package / name
        if path.is_dir():
            files |= {f"cloudide/{name}/{inner}": data for inner, data in context(path)}
        else:
            files[f"cloudide/{name}"] = path.read_bytes()
    return StockImage(
        id=AGENT,
        title="Agent",
        description="The bundle that runs in every workspace.",
        parent=None,
        version=version(files, DEBIAN),
        files=files,
    )


def context(root: Path) -> Iterator[tuple[str, bytes]]:
    """The files of a build context: path in it and content."""
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and not IGNORED.intersection(relative.parts):
            yield relative.as_posix(), path.read_bytes()


def version(files: dict[str, bytes], parent: str) -> str:
    total = hashlib.sha256(parent.encode())
    for path, content in sorted(files.items()):
        total.update(f"\0{path}\0".encode())
        total.update(hashlib.sha256(content).digest())
    return total.hexdigest()[:12]
