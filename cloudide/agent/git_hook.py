"""The hooks of ours: who wrote what is committed is named in the message.

    git_hook prepare-commit-msg <file> [<source> [<commit>]]     githooks(5)
    git_hook commit-msg <file>

A commit never fails because of them.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

TIMEOUT = 10.0  # seconds that the server has
TRAILER = "Co-authored-by"
# While these are there, Git makes commits again that somebody has made before.
REPEATED = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "rebase-merge", "rebase-apply")
REUSED = ("-C", "-c", "--reuse-message", "--reedit-message")
CHANGES_LIMIT = 500
BLOB = ("100644", "100755")


def main(arguments: list[str]) -> int:
    hook, file, *rest = arguments
    try:
        if hook == "commit-msg":
            _empty_if_unwritten(Path(file))
        else:
            _name_co_authors(file, rest)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"CloudIDE: co-authors could not be looked up: {error}\n")
    return 0


def _name_co_authors(file: str, rest: list[str]) -> None:
    if "merge" in rest[:1] or not os.environ.get("CLOUDIDE_GIT"):
        return
    git_dir = _git("rev-parse", "--absolute-git-dir")
    if any(os.path.exists(os.path.join(git_dir, name)) for name in REPEATED):
        return
    changes = _staged(_base(rest))
    if not changes:
        return
    question = {"type": "who_wrote", "git_dir": git_dir, "changes": changes}
    answer = _ask(question)
    if answer.get("type") != "co_authors":
        raise ValueError(answer.get("message", "no answer"))
    author = _address(_git("var", "GIT_AUTHOR_IDENT").rpartition(" ")[0].rpartition(" ")[0])
    committer = _address(_git("var", "GIT_COMMITTER_IDENT").rpartition(" ")[0].rpartition(" ")[0])
    left_out = {author}
    if author == committer:
        # Who is at the keyboard is the author, whatever address they have configured.
        left_out.add(_address(answer["author"]))
    others: list[str] = answer["others"]
    trailers = [f"{TRAILER}: {other}" for other in others if _address(other) not in left_out]
    if trailers:
        arguments = [part for trailer in trailers for part in ("--trailer", trailer)]
        _git("interpret-trailers", "--in-place", "--if-exists=addIfDifferent", *arguments, file)


def _base(rest: list[str]) -> str:
    """What the commit is compared with: the one before it."""
    if rest[:1] == ["commit"] and rest[1:2] == ["HEAD"] and not _reuses():
        before = _git("rev-parse", "--verify", "--quiet", "HEAD^", fails=True)
    else:
        before = _git("rev-parse", "--verify", "--quiet", "HEAD", fails=True)
    return before or _git("hash-object", "-t", "tree", os.devnull)


def _reuses() -> bool:
    """Whether HEAD is named for its message alone; that, and not amending, is a commit on it."""
    try:
        said = Path(f"/proc/{os.getppid()}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False
    arguments = said.split("\0")
    return any(each.partition("=")[0] in REUSED for each in arguments)


def _staged(base: str) -> list[dict[str, str]]:
    top = os.path.realpath(_git("rev-parse", "--show-toplevel"))
    root = os.path.realpath(os.environ.get("CLOUDIDE_GIT_ROOT", "/workspace"))
    within = os.path.relpath(top, root)
    if within.split(os.sep)[0] == "..":
        return []
    raw = _git("diff-index", "--cached", "-z", "--no-renames", "--no-abbrev", base)
    fields = raw.split("\0")
    changes: list[dict[str, str]] = []
    for head, path in zip(fields[::2], fields[1::2], strict=False):
        old_mode, new_mode, old, new, kind = head.lstrip(":").split(" ")
        if kind[0] in "AM" and new_mode in BLOB and len(changes) < CHANGES_LIMIT:
            before = old if old_mode in BLOB else ""
            place = os.path.normpath(os.path.join(within, path))
            changes.append({"path": place, "old": before, "new": new})
    return changes


def _ask(question: dict[str, Any]) -> dict[str, Any]:
    line = {"origin": os.environ.get("CLOUDIDE_TERMINAL", ""), "question": question}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(TIMEOUT)
        connection.connect(os.path.join(os.environ["CLOUDIDE_GIT"], "socket"))
        connection.sendall(json.dumps(line).encode() + b"\n")
        with connection.makefile("rb") as answers:
            return json.loads(answers.readline() or b"{}")


def _empty_if_unwritten(file: Path) -> None:
    """A message of nothing but names that we have put there is none: the commit is given up."""
    lines = [
        line
        for line in file.read_text(errors="replace").partition("# ----")[0].splitlines()
        if line.strip() and not line.startswith("#")
    ]
    if lines and all(line.startswith(f"{TRAILER}: ") for line in lines):
        file.write_text("")


def _address(person: str) -> str:
    return person.rpartition("<")[2].rstrip("> ").lower()


def _git(*arguments: str, fails: bool = False) -> str:
    done = subprocess.run(
        ["git", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TIMEOUT,
        check=not fails,
    )
    text = done.stdout.decode(errors="surrogateescape")
    return text if "\0" in text else text.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
