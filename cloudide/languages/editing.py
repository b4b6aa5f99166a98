"""Edits of language servers: done in the rooms, all or nothing, and taken back as one step.

Files that nobody has open are opened for it, so that each change is an edit of a document, in its
history and written to the disk like what people type. What a group changed is kept for a while; to
take it back, each text gets what it had, and what others did since stays.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, Protocol

import msgspec
import structlog

from cloudide.agents.hub import Agents
from cloudide.errors import CloudIDEError, Conflict, Denied, InvalidInput, NotFound, TooLarge
from cloudide.identity.permissions import Grant
from cloudide.languages.edits import Create, Delete, Operation, Plan, Rename, Splice, applied
from cloudide.languages.lines import Encoding, Lines
from cloudide.protocol.agent import CONTENT_LIMIT, WriteFile
from cloudide.protocol.languages import Edited

GROUPS = 50  # of a workspace that can be taken back
GROUP_BYTES = 64 * 1024 * 1024  # of text that they keep together
AT_ONCE = 8  # files that are opened at one time

_log = structlog.get_logger(__name__)


class Room(Protocol):
    """A document, as far as it is edited from here."""

    path: str
    seq: int

    @property
    def text(self) -> object:
        """Its `str` is the text."""
        ...

    def splice(self, splices: Sequence[Splice], author: str) -> None: ...

    def revert(self, before: str, after: str, author: str) -> None: ...

    def unfollow(self, follower: Any) -> None: ...


class Rooms(Protocol):
    async def follow(self, workspace: str, path: str, follower: Any) -> Room: ...

    async def flush(self, workspace: str, path: str = "") -> None: ...

    async def moved(self, workspace: str, source: str, target: str) -> None: ...


class _Text(msgspec.Struct, frozen=True):
    before: str
    after: str


class _Group(msgspec.Struct):
    """What was done. `operations` are those that take it back, in order."""

    workspace: str
    person: str
    label: str
    texts: dict[str, _Text]
    operations: list[Operation]
    undone: bool = False

    @property
    def size(self) -> int:
        return sum(len(each.before) + len(each.after) for each in self.texts.values())


class _Holder:
    """Keeps a room loaded, and hears nothing."""

    def changed(self, delta: list[dict[str, Any]]) -> None:
        pass

    def moved(self) -> None:
        pass

    def lost(self) -> None:
        pass


class _Held(NamedTuple):
    room: Room
    holder: _Holder


class Editing:
    """All groups of the server."""

    def __init__(self, agents: Agents, rooms: Rooms) -> None:
        self._agents = agents
        self._rooms = rooms
        self._groups: OrderedDict[str, _Group] = OrderedDict()
        self._turns: dict[str, asyncio.Lock] = {}  # one group after the other

    async def apply(
        self,
        grant: Grant,
        label: str,
        plan: Plan,
        encoding: Encoding,
        is_current: Callable[[str, str], bool],
    ) -> Edited | None:
        """Do what a plan says; None when that is nothing.

        `is_current(path, text)`: whether the file's text, which it is given, is one that the plan
        was made for.

        Raises:
            CloudIDEError: it cannot be done, and nothing was.
        """
        if not plan.texts and not plan.operations:
            return None
        workspace, person = grant.workspace, grant.person.id
        async with self._turn(workspace):
            await self._check(workspace, plan.operations)
            rooms = await self._open(workspace, [*plan.texts])
            try:
                # From here to where all texts are changed there is no await.
                texts: dict[str, _Text] = {}
                found: dict[str, list[Splice]] = {}
                for path, (room, _) in rooms.items():
                    before = str(room.text)
                    if not is_current(path, before):
                        raise Conflict("The text has changed meanwhile. Try again.")
                    found[path] = applied(Lines(before), plan.texts[path], encoding)
                    texts[path] = _Text(before, _spliced(before, found[path]))
                if sum(len(each.before) + len(each.after) for each in texts.values()) > GROUP_BYTES:
                    raise TooLarge("The edit is too large; nothing was changed.")
                for path, (room, _) in rooms.items():
                    room.splice(found[path], person)
                try:
                    back = await self._operate(workspace, plan.operations)
                except CloudIDEError:
                    for path, (room, _) in rooms.items():
                        room.revert(texts[path].before, texts[path].after, person)
                    raise
                await self._flush(workspace, rooms.values())
            finally:
                self._close(rooms)
        names = _renamed(plan.operations)
        changed = {
            names.get(path, path): each for path, each in texts.items() if each.before != each.after
        }
        if not changed and not plan.operations:
            return None
        group = _Group(workspace, person, label, changed, back)
        id = self._keep(group)
        return Edited(id, label, plan.files, plan.edits)

    async def undo(self, grant: Grant, id: str) -> Edited:
        """Take a group back, as an edit of who made it.

        Raises:
            NotFound: there is no such group here, or no longer. Denied: somebody else made it.
            Conflict: it was taken back before.
        """
        group = self._groups.get(id)
        if group is None or group.workspace != grant.workspace:
            raise NotFound("This edit is no longer kept; use the files' history to go back.")
        if group.person != grant.person.id:
            raise Denied("Only who made an edit can take it back as one step.")
        async with self._turn(grant.workspace):
            if group.undone:
                raise Conflict("This edit was taken back already.")
            await self._operate(grant.workspace, group.operations)
            names = _renamed(group.operations)
            paths = {names.get(path, path): text for path, text in group.texts.items()}
            rooms = await self._open(grant.workspace, [*paths])
            try:
                for path, (room, _) in rooms.items():
                    room.revert(paths[path].before, paths[path].after, grant.person.id)
                group.undone = True
                await self._flush(grant.workspace, rooms.values())
            finally:
                self._close(rooms)
        del self._groups[id]
        return Edited(id, group.label, sorted(paths), len(paths))

    def forget(self, workspace: str) -> None:
        """A workspace is gone."""
        for id in [id for id, group in self._groups.items() if group.workspace == workspace]:
            del self._groups[id]
        self._turns.pop(workspace, None)

    def _turn(self, workspace: str) -> asyncio.Lock:
        return self._turns.setdefault(workspace, asyncio.Lock())

    def _keep(self, group: _Group) -> str:
        id = "e" + secrets.token_hex(8)
        self._groups[id] = group
        own = [key for key, each in self._groups.items() if each.workspace == group.workspace]
        for key in own[:-GROUPS]:
            del self._groups[key]
        while sum(each.size for each in self._groups.values()) > GROUP_BYTES:
            self._groups.popitem(last=False)
        return id

    async def _open(self, workspace: str, paths: Sequence[str]) -> dict[str, _Held]:
        """The rooms of all these files, which stay loaded until `_close`.

        Raises:
            CloudIDEError: one of them cannot be opened.
        """
        gate = asyncio.Semaphore(AT_ONCE)

        async def open_one(path: str) -> _Held:
            async with gate:
                holder = _Holder()
                return _Held(await self._rooms.follow(workspace, path, holder), holder)

        opened = await asyncio.gather(*map(open_one, paths), return_exceptions=True)
        held = {
            path: each
            for path, each in zip(paths, opened, strict=True)
            if not isinstance(each, BaseException)
        }
        for each in opened:
            if isinstance(each, BaseException):
                self._close(held)
                raise each
        return held

    def _close(self, held: dict[str, _Held]) -> None:
        for each in held.values():
            each.room.unfollow(each.holder)

    async def _flush(self, workspace: str, held: Iterable[_Held]) -> None:
        """Write the texts to the disk, for programs; the journal has them whatever comes."""
        for each in held:
            with suppress(CloudIDEError):
                await self._rooms.flush(workspace, each.room.path)

    async def _check(self, workspace: str, operations: Sequence[Operation]) -> None:
        """See whether the operations can be done.

        Raises:
            Conflict: something is in the way, or is not there.
        """
        there: dict[str, bool] = {}

        async def is_there(path: str) -> bool:
            if path not in there:
                (stat,) = await self._agents.agent(workspace).stat([path])
                there[path] = stat is not None
            return there[path]

        for each in operations:
            match each:
                case Create(path, _):
                    old, new = None, path
                case Delete(path):
                    old, new = path, None
                case Rename(old, new):
                    pass
            if new is not None and await is_there(new):
                raise Conflict(f"{new} is there already; nothing was changed.")
            if old is not None and not await is_there(old):
                raise Conflict(f"{old} is not there; nothing was changed.")
            if new is not None:
                there[new] = True
            if old is not None:
                there[old] = False

    async def _operate(self, workspace: str, operations: Sequence[Operation]) -> list[Operation]:
        """Create, rename and delete files; returns what takes that back.

        Raises:
            CloudIDEError: one of it cannot be done, and all that was before it is taken back.
        """
        back: list[Operation] = []
        try:
            for each in operations:
                back.insert(0, await self._operate_one(workspace, each))
        except CloudIDEError:
            for each in back:
                try:
                    await self._operate_one(workspace, each)
                except CloudIDEError as error:
                    _log.warning("edit.not_taken_back", error=error.message)
            raise
        return back

    async def _operate_one(self, workspace: str, operation: Operation) -> Operation:
        agent = self._agents.agent(workspace)
        match operation:
            case Create(path, text):
                await agent.call(WriteFile(path, text.encode(), expected="", parents=True))
                return Delete(path)
            case Rename(source, target):
                await self._rooms.flush(workspace, source)
                await agent.move(source, target)
                await self._rooms.moved(workspace, source, target)
                return Rename(target, source)
            case Delete(path):
                await self._rooms.flush(workspace, path)
                content = (await agent.read(path, CONTENT_LIMIT)).content or b""
                try:
                    text = content.decode()
                except UnicodeDecodeError:
                    raise InvalidInput(f"{path} is not text; it is not deleted.") from None
                await agent.delete(path)
                return Create(path, text)


def _renamed(operations: Sequence[Operation]) -> dict[str, str]:
    """What files are called after the operations, by their names before."""
    names: dict[str, str] = {}
    for each in operations:
        if isinstance(each, Rename):
            before = next((old for old, new in names.items() if new == each.source), each.source)
            names[before] = each.target
    return names


def _spliced(text: str, splices: Sequence[Splice]) -> str:
    content = text.encode()
    parts: list[bytes] = []
    at = 0
    for start, end, new in splices:
        parts += [content[at:start], new.encode()]
        at = end
    return b"".join([*parts, content[at:]]).decode()
