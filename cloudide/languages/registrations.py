"""What a server registered (`client/registerCapability`), kept and told to editors that know it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cloudide.languages import capabilities
from cloudide.languages.editors import Editor
from cloudide.protocol import jsonrpc

LIMIT = 1000
SIZE = 32 * 1024  # bytes of one
# Those that end here: documents, settings and files are fed to servers by us, not by editors.
INNER = (
    "workspace/didChangeWatchedFiles",
    "workspace/didChangeConfiguration",
    "textDocument/diagnostic",
)
WATCHED_FILES = "workspace/didChangeWatchedFiles"

Json = dict[str, Any]


class Registrations:
    def __init__(self, server: str) -> None:
        """`server`: what tells its registrations from those of others."""
        self._server = server
        self._kept: dict[str, Json] = {}

    @property
    def methods(self) -> set[str]:
        return {each["method"] for each in self._kept.values()}

    def values(self) -> Iterable[Json]:
        return self._kept.values()

    def register(self, raw: Iterable[Any], editors: Iterable[Editor]) -> set[str]:
        """Keep registrations, and tell them; returns their methods.

        Raises:
            TypeError, KeyError, AttributeError: one is none. ValueError: there are too many.
        """
        registrations = [_registration(each) for each in raw]
        if len(self._kept) + len(registrations) > LIMIT:
            raise ValueError("too many registrations")
        for each in registrations:
            self._kept[each["id"]] = each
        for editor in editors:
            self._tell(editor, registrations)
        return {each["method"] for each in registrations}

    def unregister(self, ids: Iterable[str], editors: Iterable[Editor]) -> None:
        gone = [self._kept.pop(id) for id in ids if id in self._kept]
        for editor in editors:
            theirs = [
                {"id": self._id(each["id"]), "method": each["method"]}
                for each in gone
                if _knows(editor, each["method"])
            ]
            if theirs:
                params = jsonrpc.dumps({"unregisterations": theirs})
                editor.asked("client/unregisterCapability", params, None)

    def clear(self, editors: Iterable[Editor]) -> None:
        self.unregister([*self._kept], editors)

    def tell(self, editor: Editor) -> None:
        """Tell an editor that comes of all that is kept."""
        self._tell(editor, self._kept.values())

    def _tell(self, editor: Editor, registrations: Iterable[Json]) -> None:
        theirs = [
            {**each, "id": self._id(each["id"])}
            for each in registrations
            if _knows(editor, each["method"])
        ]
        if theirs:
            params = jsonrpc.dumps({"registrations": theirs})
            editor.asked("client/registerCapability", params, None)

    def _id(self, id: str) -> str:
        return f"{self._server}:{id}"


def _registration(value: Any) -> Json:
    registration: Json = {"id": str(value["id"]), "method": str(value["method"])}
    if len(jsonrpc.dumps(value)) > SIZE:
        raise ValueError("a registration is too large")
    if value.get("registerOptions") is not None:
        registration["registerOptions"] = value["registerOptions"]
    return registration


def _knows(editor: Editor, method: str) -> bool:
    """Whether an editor is told of registrations of a method."""
    group, _, name = method.partition("/")
    if method in INNER or name.startswith(("did", "will")):
        return False
    return bool(
        capabilities.declared(
            editor.capabilities, group, name.partition("/")[0], "dynamicRegistration"
        )
    )
