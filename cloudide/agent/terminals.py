"""All terminals of a workspace, whoever looks at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from cloudide.agent.beneath import Root
from cloudide.agent.failures import Refused
from cloudide.agent.terminal import Terminal
from cloudide.agent.user import User
from cloudide.protocol.agent import EXITED_TERMINALS, CreateTerminal, TerminalInfo


class Terminals:
    """All terminals, oldest first; the last of those that have ended are kept until closed."""

    def __init__(
        self,
        root: Root,
        user: User,
        on_change: Callable[[TerminalInfo], None],
        on_remove: Callable[[str], None],
        environment: Callable[[str], Mapping[str, str]] = lambda id: {},
    ) -> None:
        """`environment` gives what the programs of one terminal get besides."""
        self._root = root
        self._user = user
        self._on_change = on_change
        self._on_remove = on_remove
        self._environment = environment
        self._terminals: dict[str, Terminal] = {}

    def create(self, request: CreateTerminal) -> TerminalInfo:
        if request.id in self._terminals:
            raise Refused("exists", "There is a terminal of that id already.")
        environment = {**self._environment(request.id), **request.env}
        request = msgspec.structs.replace(request, env=environment)
        terminal = Terminal(self._root, self._user, request, self._changed)
        self._terminals[request.id] = terminal
        return terminal.info

    def list(self) -> list[TerminalInfo]:
        return [terminal.info for terminal in self._terminals.values()]

    def get(self, terminal_id: str) -> Terminal:
        try:
            return self._terminals[terminal_id]
        except KeyError:
            raise Refused("gone", "This terminal is closed.") from None

    async def close(self, terminal_id: str) -> None:
        terminal = self.get(terminal_id)
        await terminal.close()
        if self._terminals.pop(terminal_id, None) is not None:
            self._on_remove(terminal_id)

    async def close_all(self) -> None:
        await asyncio.gather(*(terminal.close() for terminal in self._terminals.values()))

    def _changed(self, terminal: Terminal) -> None:
        if self._terminals.get(terminal.id) is not terminal:
            return
        self._on_change(terminal.info)
        ended = [each.id for each in self._terminals.values() if each.exit is not None]
        for terminal_id in ended[:-EXITED_TERMINALS]:
            del self._terminals[terminal_id]
            self._on_remove(terminal_id)
