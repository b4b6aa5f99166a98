"""Filling a new workspace: a Git clone that runs in its container, as its user."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, InvalidInput, NotFound, Unavailable
from cloudide.project import configuration
from cloudide.project.schema import FILE, FILE_LIMIT

_SCHEMES = ("https", "http", "git", "ssh")
_SCP_LIKE = re.compile(r"[\w.-]+@[\w.-]+:(?!//)[^\s]+")
_KEPT_LINES = 6
_LONGEST_LINE = 2000  # characters; the workspace could send one without end
# Git must neither ask for a password that nobody can type nor use a helper that runs a program.
_ENVIRONMENT = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": ":".join(_SCHEMES)}


def check_git_url(url: str) -> str:
    """A clone address that Git can be given.

    Raises:
        InvalidInput: not a URL of a kind that is allowed (local paths and helpers are not).
    """
    url = url.strip()
    printable = url.isprintable() and not any(char.isspace() for char in url)
    if printable and _SCP_LIKE.fullmatch(url):
        return url
    parts = urlsplit(url) if printable else None
    if parts is None or parts.scheme not in _SCHEMES or not parts.hostname:
        raise InvalidInput(
            "The Git URL is not one that can be cloned. It looks like "
            "https://example.org/team/project.git."
        )
    if parts.password:
        raise InvalidInput("Leave the password out of the Git URL; everybody here could read it.")
    return url


def check_git_ref(ref: str) -> str:
    """Raises: InvalidInput: not the name of a branch, tag or commit (git check-ref-format)."""
    if ref and not re.fullmatch(r"(?!-)(?!.*\.\.)[\w./+@-]{1,250}", ref):
        raise InvalidInput(f"{ref!r} is not the name of a branch, a tag or a commit.")
    return ref


async def clone(
    agent: Agent,
    url: str,
    ref: str,
    log: Callable[[str], None],
    limit: float,
    environment: Mapping[str, str],
) -> None:
    """Clone `url` into the workspace's empty root and check out `ref`, if any.

    `environment` is how Git reaches the repository, where that takes more than its address.

    Raises:
        CloudIDEError: Git's own words say why; nothing of the attempt is left.
    """
    before = {entry.path for entry in (await agent.list()).entries}
    try:
        clone = ["clone", "--progress", "--", url, "."]
        await _git(agent, clone, log, limit, url, environment)
        if ref:
            await _git(agent, ["checkout", ref, "--"], log, limit, f"{ref!r} of {url}", {})
    except CloudIDEError:
        # Git removes what a failed clone left, but a reference that is not there is found out only
        # afterwards; the next attempt needs an empty folder again.
        for entry in (await agent.list()).entries:
            if entry.path not in before:
                await agent.delete(entry.path, recursive=True)
        raise


async def catch_up(
    agent: Agent,
    url: str,
    ref: str,
    log: Callable[[str], None],
    limit: float,
    environment: Mapping[str, str],
) -> None:
    """Bring a copy of a prebuild to what is newest at `url`, and to `ref`, if any.

    Raises:
        CloudIDEError: Git's own words say why.
    """
    await _git(agent, ["remote", "set-url", "origin", url], log, limit, url, {})
    fetch = ["fetch", "--progress", "--prune", "--tags", "--force", "origin"]
    await _git(agent, fetch, log, limit, url, environment)
    if ref:
        await _git(agent, ["checkout", "--force", ref, "--"], log, limit, f"{ref!r} of {url}", {})
    # A tag or a commit has nothing to follow; of a branch the newest is wanted.
    on_branch = await agent.execute(["git", "symbolic-ref", "--quiet", "HEAD"], timeout=limit)
    if on_branch.code == 0:
        await _git(agent, ["reset", "--hard", "@{upstream}"], log, limit, url, {})


async def asked_for(agent: Agent) -> str:
    """The image that the project's `cloudide.toml` asks for; "": it says none that can be read."""
    try:
        content = (await agent.read(FILE, FILE_LIMIT)).content or b""
    except NotFound:
        return ""
    table, _ = configuration.workspace(configuration.load(content)[1])
    return table.image if table else ""


async def command(
    agent: Agent,
    argv: list[str],
    limit: float,
    what: str,
    log: Callable[[str], None] = lambda line: None,
) -> str:
    """Run a program in the root; its output, of which `log` is told line by line.

    Raises:
        Unavailable: it failed, with the end of what it said.
    """
    said = bytearray()
    partial = ""

    def output(_stream: int, data: bytes) -> None:
        nonlocal partial
        said.extend(data)
        del said[:-_LONGEST_LINE]
        *whole, partial = re.split(r"[\r\n]+", partial + data.decode(errors="replace"))
        partial = partial[-_LONGEST_LINE:]
        for line in whole:
            log(line)

    ended = await agent.execute(argv, on_output=output, timeout=limit)
    if partial:
        log(partial)
    text = said.decode(errors="replace")
    if ended.code != 0:
        raise Unavailable(f"{what} failed ({ended.code}). It said: “{text.strip() or 'nothing'}”.")
    return text


async def _git(
    agent: Agent,
    arguments: list[str],
    log: Callable[[str], None],
    limit: float,
    what: str,
    environment: Mapping[str, str],
) -> None:
    lines: list[str] = []
    partial = ""

    def output(_stream: int, data: bytes) -> None:
        nonlocal partial
        # Git ends a progress line with \r; each stands for itself.
        *whole, partial = re.split(r"[\r\n]+", partial + data.decode(errors="replace"))
        partial = partial[-_LONGEST_LINE:]
        for line in filter(None, (line.strip() for line in whole)):
            lines.append(line)
            del lines[:-_KEPT_LINES]
            log(line)

    try:
        ended = await agent.execute(
            ["git", *arguments],
            env={**_ENVIRONMENT, **environment},
            on_output=output,
            timeout=limit,
        )
    except TimeoutError as error:
        raise Unavailable(f"{what} could not be fetched within {limit:.0f} s.") from error
    except CloudIDEError as error:
        raise Unavailable(f"Git could not be run in the workspace: {error.message}") from error
    if ended.code != 0:
        said = " ".join(line for line in lines if not line.startswith("Cloning into"))
        message = f"{what} could not be fetched. Git said: “{said or 'nothing'}”."
        if "could not read Username" in said:
            message += (
                " If it is a private repository, its owner adds Git credentials for that host on "
                "their account's page."
            )
        raise Unavailable(message)
