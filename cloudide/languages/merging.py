"""Answers of several servers to one request, in the order of the servers, made one."""

from __future__ import annotations

from typing import Any

from cloudide.languages.editors import Answer
from cloudide.languages.methods import CONCATENATED
from cloudide.protocol import jsonrpc
from cloudide.protocol.jsonrpc import NULL

FROM = "cloudide"  # member of an item's `data` that names the server it came from
COMPLETION = "textDocument/completion"

Json = dict[str, Any]


def merge(method: str, answers: list[tuple[str, Answer]]) -> Answer:
    """One answer of several, each with its server's id. Those that failed count only if all did."""
    good = [(server, each.result) for server, each in answers if each.result is not None]
    if not good:
        return answers[0][1]
    full = [(server, result) for server, result in good if result not in (NULL, b"[]")]
    if not full:
        return Answer(good[0][1])
    if method not in CONCATENATED:
        return Answer(full[0][1])
    items: list[Any] = []
    incomplete = False
    for server, result in full:
        value = jsonrpc.loads(result)
        if isinstance(value, dict) and "items" in value:
            incomplete = incomplete or bool(value.get("isIncomplete"))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            value = value["items"]  # pyright: ignore[reportUnknownVariableType]
        values: list[Any] = value if isinstance(value, list) else [value]
        items += [_marked(each, server) for each in values]
    if method == COMPLETION:
        return Answer(jsonrpc.dumps({"isIncomplete": incomplete, "items": items}))
    return Answer(jsonrpc.dumps(items))


def _marked(item: Any, server: str) -> Any:
    if not isinstance(item, dict) or "uri" in item or "targetUri" in item:
        return item  # pyright: ignore[reportUnknownVariableType]
    return {**item, "data": {FROM: server, "data": item.get("data")}}  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def origin(item: Json) -> tuple[str | None, Json]:
    """The server that an item came from, if several were asked, and the item as it was."""
    data = item.get("data")
    if not isinstance(data, dict) or FROM not in data:
        return None, item
    theirs: Json = data
    item = {name: value for name, value in item.items() if name != "data"}
    if theirs.get("data") is not None:
        item["data"] = theirs["data"]
    return str(theirs[FROM]), item
