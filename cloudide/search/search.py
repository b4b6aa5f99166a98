"""Searching a workspace: ripgrep in its container, with bounds on time, matches and searches."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import msgspec

from cloudide.agents.link import Agent
from cloudide.errors import CloudIDEError, InvalidInput, NotFound, TooMany, Unavailable
from cloudide.protocol.agent import STDOUT
from cloudide.search.ripgrep import (
    GLOBS_LIMIT,
    QUERY_LIMIT,
    Found,
    Query,
    Reader,
    arguments,
    listing,
    paths_of,
    replaced,
    replacing,
)

MATCHES = 20_000  # that a search finds, and a replacement makes
TIMEOUT = 60.0  # seconds
AT_ONCE = 6  # searches of a workspace
PATHS = 200_000  # that are listed
OUTPUT = 64 * 1024 * 1024  # bytes of a listing
SAID = 4000  # bytes of what it says of an error
DEPTH = 40  # folders below each other, where ripgrep is missing


class Done(msgspec.Struct, frozen=True):
    """The end of a search. `truncated`: there may be more; `reason` says why it ended."""

    files: int
    matches: int
    truncated: bool = False
    reason: str = ""


class Searches:
    """All searches of the server."""

    def __init__(self) -> None:
        self._running: Counter[str] = Counter()

    @contextmanager
    def _turn(self, workspace: str) -> Iterator[None]:
        if self._running[workspace] >= AT_ONCE:
            raise TooMany("Several searches of this workspace run already. Try again in a moment.")
        self._running[workspace] += 1
        try:
            yield
        finally:
            self._running[workspace] -= 1
            if not self._running[workspace]:
                del self._running[workspace]

    async def find(
        self, workspace: str, agent: Agent, query: Query, paths: Sequence[str] = ()
    ) -> AsyncGenerator[Found | Done]:
        """The files with matches as they are found, and `Done` at the end.

        Ending the iteration ends the search.

        Raises:
            InvalidInput: the expression is none. Unavailable: the image has no ripgrep.
        """
        check(query)
        with self._turn(workspace):
            reader = Reader()
            found: asyncio.Queue[Found | None] = asyncio.Queue()  # bounded by MATCHES
            said = bytearray()
            files = matches = 0

            def take(stream: int, data: bytes) -> None:
                if stream != STDOUT:
                    said.extend(data[: SAID - len(said)])
                    return
                for each in reader.feed(data):
                    found.put_nowait(each)

            running = asyncio.create_task(_run(agent, arguments(query, paths), take))
            running.add_done_callback(lambda _: found.put_nowait(None))
            try:
                while (each := await found.get()) is not None:
                    if matches + each.count > MATCHES:
                        yield Done(files, matches, True, f"Only the first {matches:,} are shown.")
                        return
                    files += 1
                    matches += each.count
                    yield each
                code = await running
                # 2 may also mean that some file could not be read, beside what was found.
                if code == 2 and not files and (reason := _sentence(bytes(said))):
                    raise InvalidInput(reason)
                skipped = "Very long lines were left out." if reader.skipped else ""
                yield Done(files, matches, bool(skipped), skipped)
            except TimeoutError:
                reason = f"The search took longer than {TIMEOUT:.0f} s and was ended."
                yield Done(files, matches, True, reason)
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError, CloudIDEError, TimeoutError):
                    await running

    async def replacements(
        self,
        workspace: str,
        agent: Agent,
        query: Query,
        replacement: str,
        paths: Sequence[str],
    ) -> dict[tuple[str, int, int], str]:
        """What each match of an expression becomes, by path, line from 1 and byte in it from 0.

        Raises:
            InvalidInput: the expression is none. Unavailable: it cannot be found out.
        """
        check(query)
        with self._turn(workspace):
            code, output, said = await _whole(agent, replacing(query, replacement, paths))
            if code == 2 and not output and (reason := _sentence(said)):
                raise InvalidInput(reason)
            return replaced(output)

    async def paths(self, workspace: str, agent: Agent) -> tuple[list[str], bool]:
        """The paths of all files, but for what .gitignore names, and whether there are more.

        Raises:
            Unavailable: they cannot be listed in time.
        """
        with self._turn(workspace):
            try:
                _, output, _ = await _whole(agent, listing())
                return paths_of(output, PATHS)
            except NoRipgrep:
                tree = await agent.list("", DEPTH)
                files = [each.path for each in tree.entries if each.type != "directory"]
                return [path for path in files if not f"/{path}".count("/.git/")], tree.truncated


class NoRipgrep(Unavailable):
    pass


def check(query: Query) -> None:
    """Raises: InvalidInput: this cannot be searched for."""
    if not query.query or len(query.query) > QUERY_LIMIT:
        raise InvalidInput(f"Search for 1 to {QUERY_LIMIT} characters.")
    if "\0" in query.query or "\n" in query.query:
        raise InvalidInput("A search is within lines: leave line breaks out.")
    globs = (*query.include, *query.exclude)
    if len(globs) > GLOBS_LIMIT or any(not each or len(each) > 500 for each in globs):
        raise InvalidInput(f"Name at most {GLOBS_LIMIT} patterns of files.")
    if any("\0" in each or "\n" in each for each in globs):
        raise InvalidInput("A pattern of files is one line.")


async def _run(agent: Agent, command: list[str], take: Callable[[int, bytes], None]) -> int | None:
    try:
        ended = await agent.execute(command, on_output=take, timeout=TIMEOUT)
    except NotFound as error:
        raise NoRipgrep(
            "This workspace's image has no ripgrep, which searching needs. Install it in a "
            "terminal (on Debian: apt-get install ripgrep), or choose an image that has it."
        ) from error
    return ended.code


async def _whole(agent: Agent, command: list[str]) -> tuple[int | None, bytes, bytes]:
    output, said = bytearray(), bytearray()

    def take(stream: int, data: bytes) -> None:
        if stream != STDOUT:
            said.extend(data[: SAID - len(said)])
        elif len(output) + len(data) <= OUTPUT:
            output.extend(data)

    try:
        code = await _run(agent, command, take)
    except TimeoutError as error:
        raise Unavailable(f"The search took longer than {TIMEOUT:.0f} s.") from error
    return code, bytes(output), bytes(said)


def _sentence(said: bytes) -> str:
    """What ripgrep says is wrong, without the drawing of where."""
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    telling = [line.removeprefix("error: ") for line in lines if line.startswith("error")]
    return f"This cannot be searched for: {telling[0]}." if telling else ""
