"""Progress tokens: every one that goes out is minted here, so that no two askers' can be equal.

A server makes tokens of its own (`window/workDoneProgress/create`), which all editors are shown,
and a late one is told from the beginning. An editor sends one with a request; the answer ends it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import Id

LIMIT = 100  # of a server's own at one time
VALUE_LIMIT = 16 * 1024  # bytes of one report
REPORT_SECONDS = 0.1  # reports that come faster are left out


def token_of(value: Any) -> Id:
    """Raises: TypeError: it is no progress token."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError("A progress token is a number or text.")
    return value


class Told(NamedTuple):
    """`owner` None: everybody. `token` as they are to see it."""

    owner: object
    token: Id
    value: dict[str, Any]


class _Own:
    """A token that the server made."""

    def __init__(self, minted: str) -> None:
        self.minted = minted
        self.begin: dict[str, Any] | None = None
        self.report: dict[str, Any] | None = None
        self.told_at = 0.0


class Progress:
    def __init__(self, prefix: str) -> None:
        """`prefix`: what tells this server's tokens from those of others."""
        self._prefix = prefix
        self._last = 0
        self._own: dict[tuple[type, Id], _Own] = {}
        self._asked: dict[str, tuple[object, Id]] = {}

    def _mint(self) -> str:
        self._last += 1
        return f"{self._prefix}:{self._last}"

    def create(self, token: Id) -> str | None:
        """A server makes a token; returns what editors are to call it, None if there are too many.

        One that is there already is made anew.
        """
        key = (type(token), token)
        if key not in self._own and len(self._own) >= LIMIT:
            return None
        own = self._own[key] = _Own(self._mint())
        return own.minted

    def ask(self, owner: object, token: Id) -> str:
        """An editor sends a token with a request; returns the one to send to the server."""
        minted = self._mint()
        self._asked[minted] = (owner, token)
        return minted

    def answered(self, minted: str) -> None:
        self._asked.pop(minted, None)

    def report(self, token: Id, value: dict[str, Any], now: float) -> Told | None:
        """What is to be told, and to whom, of what a server reports; None: nothing."""
        if isinstance(token, str) and token in self._asked:
            owner, original = self._asked[token]
            return Told(owner, original, value)
        own = self._own.get((type(token), token))
        if own is None or len(jsonrpc.dumps(value)) > VALUE_LIMIT:
            return None
        match value.get("kind"):
            case "begin":
                own.begin = value
            case "report" if own.begin is not None:
                own.report = value
                if now - own.told_at < REPORT_SECONDS:
                    return None
                own.told_at = now
            case "end":
                del self._own[type(token), token]
            case _:
                return None
        return Told(None, own.minted, value)

    def under_way(self) -> list[tuple[str, list[dict[str, Any]]]]:
        """The server's own tokens, each with what a late editor is to be told of it."""
        return [
            (own.minted, [each for each in (own.begin, own.report) if each is not None])
            for own in self._own.values()
        ]

    def cancelled(self, token: Id) -> Id | None:
        """The server's name of a token of its own that an editor cancels."""
        return next((theirs for (_, theirs), own in self._own.items() if own.minted == token), None)
