"""The servers that one editor asks, in their order, as if they were one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from cloudide.languages.editors import Answer, Done, Editor
from cloudide.languages.lines import Encoding
from cloudide.languages.merging import merge, origin
from cloudide.languages.methods import OF_ITEMS, PROVIDERS
from cloudide.languages.multiplexer import Multiplexer
from cloudide.languages.requests import EXECUTE
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import ErrorCode, Malformed

Json = dict[str, Any]
Asked = list[tuple[str, Multiplexer]]  # servers by their ids


class Upstream(Protocol):
    """A server of the workspace; `multiplexer` is None while it does not run."""

    id: str
    multiplexer: Multiplexer | None

    async def started(self) -> None:
        """Returns when it runs, or will not for now."""
        ...


class Upstreams:
    """`now` is the time in seconds."""

    def __init__(
        self, editor: Editor, servers: Sequence[Upstream], now: Callable[[], float]
    ) -> None:
        self.servers = [*servers]
        self._editor = editor
        self._now = now

    @property
    def running(self) -> list[Multiplexer]:
        return [each.multiplexer for each in self.servers if each.multiplexer is not None]

    @property
    def encoding(self) -> Encoding:
        running = self.running
        return running[0].encoding if running else "utf-16"

    async def started(self) -> list[Multiplexer]:
        """Those that run, once all do or will not for now."""
        await asyncio.gather(*(server.started() for server in self.servers))
        running = self.running
        if len({each.encoding for each in running}) > 1:
            # Nobody could say which of the columns in one answer are counted how.
            running = [each for each in running if each.encoding == running[0].encoding]
            self.servers = [each for each in self.servers if each.multiplexer in running]
        return running

    def of(self, method: str) -> Asked:
        """The servers that a method is for."""
        found = [
            (each.id, each.multiplexer)
            for each in self.servers
            if each.multiplexer is not None and each.multiplexer.provides(method)
        ]
        return found if method in PROVIDERS else found[:1]

    def executing(self, command: str) -> Asked:
        """The server that has a command."""
        return [each for each in self.of(EXECUTE) if command in each[1].commands()][:1]

    def ask(self, key: object, method: str, params: bytes, path: str | None, done: Done) -> bool:
        """Ask those that can answer; `done` is called once with what they say together. False: none
        can.

        Raises:
            Malformed, TypeError, KeyError, AttributeError: the parameters are none.
        """
        asked = self.of(method)
        if method in OF_ITEMS or method == EXECUTE:
            asked, params = self._addressed(asked, method, params)
        if not asked:
            return False
        now = self._now()
        if len(asked) == 1:
            asked[0][1].ask(self._editor, key, method, params, path, done, now)
            return True
        answers: dict[str, Answer] = {}

        def one(server: str, answer: Answer) -> None:
            answers[server] = answer
            if len(answers) == len(asked):
                done(_merged(method, [(name, answers[name]) for name, _ in asked]))

        for server, multiplexer in asked:
            each = partial(one, server)
            multiplexer.ask(self._editor, key, method, params, path, each, now)
        return True

    async def answer_of(self, multiplexer: Multiplexer, method: str, params: Json) -> Answer:
        """What one server answers."""
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def done(answer: Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        body = jsonrpc.dumps(params)
        multiplexer.ask(self._editor, answered, method, body, None, done, self._now())
        return await answered

    def cancel(self, key: object) -> None:
        for each in self.running:
            each.cancel(self._editor, key)

    def _addressed(self, asked: Asked, method: str, params: bytes) -> tuple[Asked, bytes]:
        """The one server that a request about an item, or a command, is for."""
        value: Any = jsonrpc.loads(params)
        if method == EXECUTE:
            return self.executing(value["command"]), params
        inner = value.get("item", value)
        server, item = origin(inner)
        if server is None:
            return asked[:1], params
        value = {**value, "item": item} if inner is not value else item
        return [each for each in asked if each[0] == server], jsonrpc.dumps(value)


def _merged(method: str, answers: list[tuple[str, Answer]]) -> Answer:
    try:
        return merge(method, answers)
    except (Malformed, TypeError, ValueError, RecursionError):
        return Answer.failure(ErrorCode.INTERNAL_ERROR, "A language server answered nonsense.")
