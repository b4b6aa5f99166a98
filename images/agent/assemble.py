"""Assemble the self-contained bundle: loader, libraries, interpreter, standard library, packages.

    python3 assemble.py <folder of packages> <target folder>

Run inside the image build by the very interpreter that goes into the bundle.
"""

import compileall
import os
import py_compile
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

# What no agent needs; half of the standard library's size.
UNUSED = (
    "config-*",
    "curses",
    "dbm",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "sqlite3",
    "test",
    "tkinter",
    "turtledemo",
    "unittest",
    "venv",
    "wsgiref",
    "xmlrpc",
    "__pycache__",
    "lib-dynload/_codecs_*",
    "lib-dynload/_crypt*",
    "lib-dynload/_curses*",
    "lib-dynload/_dbm*",
    "lib-dynload/_sqlite3*",
    "lib-dynload/_test*",
    "lib-dynload/_xx*",
    "lib-dynload/audioop*",
    "lib-dynload/nis*",
    "lib-dynload/ossaudiodev*",
    "lib-dynload/readline*",
    "lib-dynload/xx*",
)


def main(packages: Path, target: Path) -> None:
    library = target / "lib" / f"python{sysconfig.get_python_version()}"
    shutil.copytree(
        sysconfig.get_path("stdlib"), library, ignore=shutil.ignore_patterns("*-packages")
    )
    for pattern in UNUSED:
        for path in library.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    # Packages lie in the standard library's folder: with -S (which saves a tenth of the start-up
    # time) it is the only one on the path. `lib/python` is a name for it that has no version.
    shutil.copytree(packages, library, dirs_exist_ok=True, ignore=shutil.ignore_patterns("bin"))
    (target / "bin").mkdir()
    shutil.copy2(os.path.realpath(sys.executable), target / "bin" / "python3")
    copy_libraries(target)
    compile_in_place(library)
    (target / "lib" / "python").symlink_to(library.name)


def copy_libraries(target: Path) -> None:
    """Every shared library that the interpreter or an extension names, and the loader as ld.so."""
    binaries = [target / "bin" / "python3", *target.rglob("*.so")]
    wanted: set[str] = set()
    for binary in binaries:
        output = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        if missing := re.findall(r"(\S+) => not found", output):
            raise SystemExit(f"{binary} needs {', '.join(missing)}, which is not here")
        wanted.update(re.findall(r"(/\S+) \(0x", output))
    for path in sorted(wanted):
        name = os.path.basename(path)
        if name.startswith("ld-linux"):  # ld-linux-x86-64.so.2, ld-linux-aarch64.so.1, …
            name = "ld.so"
        if path.startswith(str(target)):
            continue
        shutil.copy2(os.path.realpath(path), target / "lib" / name)


def compile_in_place(library: Path) -> None:
    """Byte code instead of sources: half the size, and nothing to check at import."""
    compiled = compileall.compile_dir(
        library,
        quiet=1,
        force=True,
        legacy=True,
        stripdir=str(library),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    if not compiled:
        raise SystemExit("some module of the bundle does not compile")
    for source in library.rglob("*.py"):
        source.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
