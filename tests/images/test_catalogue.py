"""The catalogue of stock images, which asks no engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudide.images import catalogue


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for id, parent in (("child", 'parent = "ground"'), ("ground", "")):
        folder = tmp_path / id
        folder.mkdir()
        (folder / "image.toml").write_text(f'title = "T"\ndescription = "D"\n{parent}\n')
        (folder / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "Dockerfile").write_text("FROM scratch\n")
    return tmp_path


def test_parents_come_first(images: Path) -> None:
    assert list(catalogue.read(images)) == ["ground", "child"]


def test_version_follows_content_and_parent(images: Path) -> None:
    before = catalogue.read(images)
    assert catalogue.read(images) == before
    (images / "child" / "extra").write_text("x")
    child_changed = catalogue.read(images)
    assert child_changed["ground"].tag == before["ground"].tag
    assert child_changed["child"].tag != before["child"].tag
    (images / "ground" / "extra").write_text("x")
    ground_changed = catalogue.read(images)
    assert ground_changed["ground"].tag != before["ground"].tag
    assert ground_changed["child"].tag != child_changed["child"].tag


def test_byte_code_does_not_count(images: Path) -> None:
    before = catalogue.read(images)
    (images / "ground" / "__pycache__").mkdir()
    (images / "ground" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert catalogue.read(images) == before


def test_agent_holds_its_code_and_nothing_of_the_server() -> None:
    files = catalogue.agent().files
    assert {"Dockerfile", "assemble.py", "cloudide/__init__.py", "cloudide/errors.py"} <= set(files)
    folders = {path.split("/")[1] for path in files if path.count("/") > 1}
    assert folders == {"agent", "protocol"}


def test_stock_images_are_what_the_documentation_says() -> None:
    images = catalogue.read()
    ahead = [id for id, image in images.items() if not image.on_demand]
    assert ahead == ["base", "python", "polyglot"]
    assert {id for id, image in images.items() if image.on_demand} == {"cpp", "full", "go", "node"}
    assert images["python"].parent == "base"
    assert all(image.title and image.description for image in images.values())
