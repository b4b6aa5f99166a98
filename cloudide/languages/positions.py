"""Where a position goes when a text changes: forward to the newest text, and back to an older one.

Positions are pairs (line, column) in one encoding. Nothing of the texts is needed, as a change says
where it began and ended before, and where it ends now.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloudide.languages.lines import Change, Encoding, Position

Pair = tuple[int, int]


def forward(
    pair: Pair, changes: Iterable[Change], encoding: Encoding, *, before: bool = False
) -> Pair:
    """The same place after `changes`, in order.

    What is inserted right there pushes it on, or not if it is to stay `before` that. A place that
    was removed is where what replaced it ends (`before`: begins).
    """
    for change in changes:
        pair = _through(pair, change.start, change.end, change.after, encoding, before)
    return pair


def back(
    pair: Pair, changes: Sequence[Change], encoding: Encoding, *, before: bool = False
) -> Pair:
    """The same place before `changes`."""
    for change in reversed(changes):
        pair = _through(pair, change.start, change.after, change.end, encoding, before)
    return pair


def range_forward(
    start: Pair, end: Pair, changes: Sequence[Change], encoding: Encoding
) -> tuple[Pair, Pair]:
    """A range after `changes`. What is inserted at its ends does not belong to it."""
    mapped = forward(start, changes, encoding)
    return mapped, max(mapped, forward(end, changes, encoding, before=True))


def range_back(
    start: Pair, end: Pair, changes: Sequence[Change], encoding: Encoding
) -> tuple[Pair, Pair]:
    """A range before `changes`."""
    mapped = back(start, changes, encoding, before=True)
    return mapped, max(mapped, back(end, changes, encoding))


def _through(
    pair: Pair, start: Position, end: Position, after: Position, encoding: Encoding, before: bool
) -> Pair:
    first = (start.line, start.column(encoding))
    last = (end.line, end.column(encoding))
    if pair < first or (before and pair == first):
        return pair
    line, column = after.line, after.column(encoding)
    if pair < last:
        return first if before else (line, column)
    if pair[0] == last[0]:
        return line, column + pair[1] - last[1]
    return pair[0] + line - last[0], pair[1]
