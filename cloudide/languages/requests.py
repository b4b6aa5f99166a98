"""The requests that a server has not answered: by our ids, and by whoever asked."""

from __future__ import annotations

import msgspec

from cloudide.languages.editors import Answer, Done, Editor
from cloudide.languages.progress import Progress, token_of
from cloudide.protocol import jsonrpc

EXECUTE = "workspace/executeCommand"


class Request(msgspec.Struct):
    """`key` is the editor's name for it, `owner` None: it is our own. `stamp`: how the documents
    stood when it was sent."""

    owner: Editor | None
    key: object
    method: str
    params: bytes
    path: str | None
    done: Done
    stamp: int = 0
    deadline: float = 0.0
    token: str | None = None
    again: bool = True  # whether it may be asked once more


class Requests:
    """Ids are minted here, and so are the progress tokens that go with them."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._last = 0
        self._pending: dict[int, Request] = {}
        self._keys: dict[tuple[int, object], int] = {}  # of an editor and its request

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, request: Request) -> int:
        """Its id, from now on until `take`."""
        self._last += 1
        self._pending[self._last] = request
        if request.owner is not None:
            self._keys[id(request.owner), request.key] = self._last
        return self._last

    def take(self, number: object) -> Request | None:
        """What is answered, or given up, by this id; None: nothing waits for it."""
        request = self._pending.pop(number, None) if isinstance(number, int) else None
        if request is None:
            return None
        if request.owner is not None:
            key = (id(request.owner), request.key)
            if self._keys.get(key) == number:
                del self._keys[key]
        if request.token is not None:
            self._progress.answered(request.token)
            request.token = None
        return request

    def take_all(self) -> list[Request]:
        found = [self.take(number) for number in [*self._pending]]
        return [request for request in found if request is not None]

    def find(self, editor: Editor, key: object) -> int | None:
        return self._keys.get((id(editor), key))

    def of(self, editor: Editor) -> list[int]:
        return [number for number, each in self._pending.items() if each.owner is editor]

    def overdue(self, now: float) -> list[int]:
        return [number for number, each in self._pending.items() if each.deadline <= now]

    def executing(self) -> Editor | None:
        """Whose command the server executes: the one that was asked last."""
        for request in reversed(self._pending.values()):
            if request.method == EXECUTE:
                return request.owner
        return None

    def mint_token(self, request: Request) -> None:
        """Give a request a progress token of ours.

        Partial results are not asked for: they would have to be worked on like answers.

        Raises:
            Malformed, TypeError, AttributeError: the parameters are none.
        """
        if b"Token" not in request.params or request.owner is None:
            return
        params = jsonrpc.loads(request.params)
        params.pop("partialResultToken", None)
        if (token := params.get("workDoneToken")) is not None:
            request.token = self._progress.ask(request.owner, token_of(token))
            params["workDoneToken"] = request.token
        request.params = jsonrpc.dumps(params)


def failure(message: str) -> Answer:
    return Answer.failure(jsonrpc.ErrorCode.REQUEST_FAILED, message)
