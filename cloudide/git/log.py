"""What was committed: the log with what a graph of it needs, one commit, and files as they were."""

from __future__ import annotations

import msgspec

from cloudide.agents.link import Agent
from cloudide.errors import InvalidInput, NotFound, Unavailable
from cloudide.git.actions import ID
from cloudide.git.program import GitFailed, read
from cloudide.git.status import DIFF_LIMIT, top_of

LIMIT = 200  # commits at a time
SKIP_LIMIT = 100_000
FILES_LIMIT = 2000
BLOB_LIMIT = 5 * 1024 * 1024  # bytes; an editor opens no larger file
_FORMAT = "%H%x00%P%x00%an%x00%ae%x00%at%x00%D%x00%s"
_LINES = ["--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/"]


class Commit(msgspec.Struct, frozen=True):
    """`time`: seconds of the Unix epoch. `refs`: branches and tags that point to it."""

    id: str
    parents: list[str]
    author: str
    email: str
    time: int
    refs: list[str]
    subject: str


class Log(msgspec.Struct, frozen=True):
    """The newest first, none before its children. `more`: there are older ones."""

    commits: list[Commit]
    more: bool


class ChangedFile(msgspec.Struct, frozen=True):
    """`added` and `removed` count lines; both are -1 for a file that is no text."""

    path: str
    added: int
    removed: int


class Details(msgspec.Struct, frozen=True):
    """One commit, with what it changed since its first parent."""

    commit: Commit
    message: str
    files: list[ChangedFile]
    truncated: bool


def parse(output: bytes) -> list[Commit]:
    """Raises: Unavailable: this is not what Git says."""
    fields = output.decode(errors="replace").split("\0")
    if fields and not fields[-1]:
        fields.pop()
    try:
        return [
            _commit(*record)
            for record in zip(*(iter(fields),) * 7, strict=True)  # seven fields to a commit
        ]
    except ValueError as error:
        raise Unavailable("Git's log was not understood.") from error


def _commit(
    id: str, parents: str, author: str, email: str, time: str, refs: str, subject: str
) -> Commit:
    named = [ref.removeprefix("HEAD -> ") for ref in refs.split(", ") if ref]
    return Commit(id, parents.split(), author, email, int(time), named, subject)


async def log(agent: Agent, directory: str, *, limit: int, skip: int, path: str = "") -> Log:
    """Commits of all branches and of what is checked out; with `path`, those that changed it.

    Raises:
        InvalidInput: `limit` or `skip` is out of bounds.
    """
    if not (1 <= limit <= LIMIT and 0 <= skip <= SKIP_LIMIT):
        raise InvalidInput(f"Ask for 1 to {LIMIT} commits, behind {SKIP_LIMIT} at most.")
    if not await read(agent, ["rev-list", "--max-count=1", "--all"], directory):
        return Log([], more=False)  # nothing is committed yet
    which = ["HEAD", "--", path] if path else ["--branches", "--remotes", "HEAD", "--"]
    output = await read(
        agent,
        [
            "--literal-pathspecs",
            "log",
            "-z",
            "--topo-order",
            f"--max-count={limit + 1}",
            f"--skip={skip}",
            f"--format={_FORMAT}",
            *which,
        ],
        await top_of(agent, directory),
    )
    found = parse(output)
    return Log(found[:limit], len(found) > limit)


async def details(agent: Agent, directory: str, commit: str) -> Details:
    """Raises: NotFound: there is no such commit."""
    _check(commit)
    try:
        said = await read(
            agent, ["show", "-z", "--no-patch", f"--format={_FORMAT}%x00%B", commit], directory
        )
    except GitFailed as error:
        raise NotFound("There is no such commit.") from error
    *head, message = said.split(b"\0", 7)
    [found] = parse(b"\0".join(head))
    output = await read(
        agent,
        ["diff-tree", "-z", "-r", "--root", "--numstat", "--no-commit-id", *_first_parent(found)],
        directory,
    )
    files = [_changed(line) for line in output.decode(errors="replace").split("\0") if line]
    return Details(
        found,
        message.decode(errors="replace").rstrip("\0").strip(),
        files[:FILES_LIMIT],
        len(files) > FILES_LIMIT,
    )


async def diff_of(agent: Agent, directory: str, commit: str, path: str) -> bytes:
    """What a commit changed in a file, as Git shows it.

    Raises:
        NotFound: there is no such commit. TooLarge: it is more than is shown.
    """
    _check(commit)
    try:
        parents = await read(agent, ["rev-list", "--parents", "-n1", commit], directory)
        first = parents.decode().split()[1:2] or ["--root"]
        arguments = ["diff-tree", "-p", "-r", "--no-commit-id", *_LINES, *first, commit]
        return await read(
            agent,
            ["--literal-pathspecs", *arguments, "--", path],
            await top_of(agent, directory),
            limit=DIFF_LIMIT,
        )
    except GitFailed as error:
        raise NotFound("There is no such commit.") from error


async def blob(agent: Agent, directory: str, path: str, revision: str = "HEAD") -> bytes:
    """A file as it was committed; `path` is from the repository's top.

    Raises:
        NotFound: it was not there. TooLarge: it is more than an editor opens.
    """
    if revision != "HEAD":
        _check(revision)
    if not path or "\0" in path:
        raise InvalidInput("Name a file.")
    try:
        return await read(
            agent, ["cat-file", "blob", f"{revision}:{path}"], directory, limit=BLOB_LIMIT
        )
    except GitFailed as error:
        raise NotFound(f"{path} was not committed.") from error


def _first_parent(commit: Commit) -> list[str]:
    return [*commit.parents[:1], commit.id]


def _changed(line: str) -> ChangedFile:
    try:
        added, removed, path = line.split("\t", 2)
        if added == "-":
            return ChangedFile(path, -1, -1)
        return ChangedFile(path, int(added), int(removed))
    except ValueError as error:
        raise Unavailable("Git's list of files was not understood.") from error


def _check(commit: str) -> None:
    if not ID.fullmatch(commit):
        raise InvalidInput("A commit is named by all of its 40 or 64 digits.")
