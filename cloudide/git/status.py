"""What has changed in a repository: `git status --porcelain=v2 -z --branch`, strictly read."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cloudide.agents.link import Agent
from cloudide.errors import InvalidInput, NotFound, Unavailable
from cloudide.git.program import GitFailed, read

FILES_LIMIT = 2000  # that are shown
PATHS_LIMIT = 2000  # that are staged in one go
DIFF_LIMIT = 1024 * 1024  # bytes
REMOTES_LIMIT = 10


class File(msgspec.Struct, frozen=True):
    """`path` is from the repository's top. `index` and `worktree` are the letters of git-status(1),
    "." for unchanged, "?" for untracked, "U" for a conflict; `former` is what it was renamed
    from."""

    path: str
    index: str
    worktree: str
    former: str = ""


class Remote(msgspec.Struct, frozen=True):
    name: str
    url: str
    push_url: str


class Status(msgspec.Struct, frozen=True):
    """`branch` "": none is checked out; `commit` "": there is none yet. `ahead` and `behind` count
    commits against `upstream`, if there is one. `top` is the repository's folder in the workspace,
    "": its root."""

    top: str
    branch: str
    commit: str
    upstream: str
    ahead: int
    behind: int
    files: list[File]
    truncated: bool
    remotes: list[Remote] = []


def parse(output: bytes, top: str = "") -> Status:
    """Raises: Unavailable: this is not what Git says."""
    branch = {"oid": "", "head": "", "upstream": "", "ab": "+0 -0"}
    files: list[File] = []
    fields = iter(output.decode(errors="replace").split("\0"))
    truncated = False
    try:
        for field in fields:
            kind = field[:1]
            if kind == "#":
                _, name, value = field.split(" ", 2)
                branch[name.removeprefix("branch.")] = value
                continue
            if kind == "1":
                _, letters, *_, path = field.split(" ", 8)
                file = File(path, letters[0], letters[1])
            elif kind == "2":
                _, letters, *_, path = field.split(" ", 9)
                file = File(path, letters[0], letters[1], next(fields))
            elif kind == "u":
                file = File(field.split(" ", 10)[10], "U", "U")
            elif kind == "?":
                file = File(field[2:], ".", "?")
            else:
                continue  # the end, or a header of a later Git
            truncated = truncated or len(files) >= FILES_LIMIT
            if not truncated:
                files.append(file)
        ahead, behind = branch["ab"].split(" ")
        return Status(
            top=top,
            branch="" if branch["head"] == "(detached)" else branch["head"],
            commit="" if branch["oid"] == "(initial)" else branch["oid"],
            upstream=branch["upstream"],
            ahead=int(ahead),
            behind=-int(behind),
            files=files,
            truncated=truncated,
        )
    except (ValueError, IndexError, StopIteration) as error:
        raise Unavailable("Git's status was not understood.") from error


async def status(agent: Agent, directory: str) -> Status:
    """Raises: NotFound: there is no repository."""
    try:
        top = await top_of(agent, directory)
    except GitFailed as error:
        raise NotFound("There is no Git repository here.") from error
    output = await read(
        agent,
        ["status", "--porcelain=v2", "-z", "--branch", "--untracked-files=all"],
        directory,
    )
    found = parse(output, top)
    names = (await read(agent, ["remote"], directory)).decode(errors="replace").splitlines()
    remotes = [await _remote(agent, directory, name) for name in names[:REMOTES_LIMIT]]
    return msgspec.structs.replace(found, remotes=remotes)


async def stage(agent: Agent, directory: str, paths: Sequence[str], *, staged: bool) -> None:
    """Stage whole files, or take what is staged of them back out of the index.

    `paths` are from the repository's top; they are names, not patterns.
    """
    if not paths or len(paths) > PATHS_LIMIT or any(not path or "\0" in path for path in paths):
        raise InvalidInput(f"Name 1 to {PATHS_LIMIT} files.")
    top = await top_of(agent, directory)
    listed = ["--pathspec-from-file=-", "--pathspec-file-nul"]
    if staged:
        arguments = ["add", "--all", *listed]
    elif await read(agent, ["rev-parse", "--verify", "--quiet", "HEAD"], directory, also=(1, 128)):
        arguments = ["restore", "--staged", *listed]
    else:
        arguments = ["rm", "--cached", "-r", "--quiet", *listed]
    stdin = "\0".join(paths).encode()
    await read(agent, ["--literal-pathspecs", *arguments], top, stdin=stdin)


async def diff(agent: Agent, directory: str, path: str, *, staged: bool) -> bytes:
    """What has changed in a file, as Git shows it.

    Raises:
        TooLarge: it is more than is shown.
    """
    options = ["--no-color", "--no-ext-diff", "--no-textconv", "--src-prefix=a/", "--dst-prefix=b/"]
    return await read(
        agent,
        ["--literal-pathspecs", "diff", *(["--cached"] if staged else []), *options, "--", path],
        await top_of(agent, directory),
        limit=DIFF_LIMIT,
    )


async def top_of(agent: Agent, directory: str) -> str:
    """The repository's folder, from the workspace's root on.

    Raises:
        NotFound: it lies outside.
    """
    output = await read(agent, ["rev-parse", "--show-toplevel"], directory)
    top, root = output.decode(errors="replace").strip(), agent.hello.root.rstrip("/")
    if top != root and not top.startswith(f"{root}/"):
        raise NotFound("There is no Git repository here.")
    return top[len(root) + 1 :]


async def _remote(agent: Agent, directory: str, name: str) -> Remote:
    async def url(*which: str) -> str:
        output = await read(
            agent, ["remote", "get-url", *which, "--", name], directory, also=(1, 2, 128)
        )
        return output.decode(errors="replace").strip()

    return Remote(name, await url(), await url("--push"))
