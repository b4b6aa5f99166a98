"""Which stock image suits a project that says nothing of it."""

from __future__ import annotations

import pytest

from cloudide.images import catalogue
from cloudide.project.guess import guess


@pytest.mark.parametrize(
    ("names", "image", "said"),
    [
        (["README", "pyproject.toml"], "python", "pyproject.toml, as projects in Python"),
        (["package.json", "src"], "node", "package.json"),
        (["go.mod"], "go", "go.mod"),
        (["CMakeLists.txt"], "cpp", "CMakeLists.txt"),
        (["package.json", "requirements.txt"], "full", "requirements.txt (Python), package.json"),
        (["README"], "", "No file"),
        (["go.mod", "cloudide.toml"], "", "cloudide.toml"),
        (["go.mod", ".devcontainer"], "", "development container"),
        (["go.mod", ".devcontainer.json"], "", "development container"),
    ],
    ids=["python", "node", "go", "cpp", "several", "none", "declared", "folder", "file"],
)
def test_guesses_say_why(names: list[str], image: str, said: str) -> None:
    made = guess(names)
    assert made.image == image
    assert said in made.because
    assert not image or image in catalogue.read()
