"""A guess which stock image suits a project that says nothing of it, by the names of its files."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from cloudide.project.devcontainer import FILES as DEVCONTAINER_FILES
from cloudide.project.schema import FILE

# What tells of each stock image; the first file that is there is named as the reason.
_SIGNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "python",
        "Python",
        ("pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile"),
    ),
    ("node", "Node.js", ("package.json", "deno.json", "tsconfig.json")),
    ("go", "Go", ("go.mod", "go.work")),
    ("cpp", "C or C++", ("CMakeLists.txt", "meson.build", "configure.ac", "conanfile.txt")),
)
_SEVERAL = "full"  # has them all


class Guess(msgspec.Struct, frozen=True):
    """`image` "": there is nothing to go by, or the project says it itself; `because` says why."""

    image: str
    because: str


def guess(names: Collection[str]) -> Guess:
    """`names`: of what lies in the root of the project."""
    if FILE in names:
        return Guess("", f"The project has a {FILE}, which may name an image.")
    if ".devcontainer" in names or DEVCONTAINER_FILES[1] in names:
        return Guess(
            "",
            "The project describes a development container; an image can be made of it in Images.",
        )
    found = [
        (image, language, sign)
        for image, language, signs in _SIGNS
        if (sign := next((each for each in signs if each in names), ""))
    ]
    if not found:
        return Guess("", "No file of the project says what it is written in.")
    if len(found) == 1:
        image, language, sign = found[0]
        return Guess(image, f"It has a {sign}, as projects in {language} do.")
    listed = ", ".join(f"{sign} ({language})" for _, language, sign in found)
    return Guess(_SEVERAL, f"It has {listed}; this image has all of these languages.")
