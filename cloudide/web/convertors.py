"""What a path parameter may hold; imported before the routes are made."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor


class FilePath(Convertor[str]):
    """The rest of an address, whatever it holds: a file's name may have a line break in it, where
    Starlette's own `path` stops."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("path", FilePath())
