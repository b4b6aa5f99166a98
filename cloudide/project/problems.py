"""What is wrong with a project's own files, told to whoever works on it."""

import msgspec

Key = str | int  # of a table, or the index in a list


class Mistake(msgspec.Struct, frozen=True):
    """Something wrong in a document of keys and values.

    `path`: the keys that lead there, () for the whole of it. `offset`: where it is in the text, if
    that is known without the path. `unknown`: what is wrong is that there is such a key.
    """

    message: str
    path: tuple[Key, ...] = ()
    offset: int = -1
    unknown: bool = False


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a file, and what to do about it. `line` and `column`
    (of code points) count from 1; 0: unknown."""

    file: str
    message: str
    line: int = 0
    column: int = 0
