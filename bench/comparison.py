"""Several figures of several servers, measured in turns: the table, who is first, and the goals."""

from __future__ import annotations

import statistics

import msgspec


class Column(msgspec.Struct):
    """One figure of every server. `goal`: the most it may be for ours (the least, if `high`);
    `share`: the most that ours may be of the best of the others that persist."""

    heading: str  # with the unit
    digits: int = 2
    high: bool = False  # more is better
    goal: float | None = None
    share: float | None = None
    compared: bool = True  # whether being first means anything


class Row(msgspec.Struct):
    """One server's figures: for each column the rounds' values."""

    name: str
    competes: bool  # it keeps documents as ours does, on disk
    figures: dict[str, list[float]] = {}
    failures: list[str] = []  # a row that has one is not first in anything
    notes: list[str] = []

    def add(self, **figures: float) -> None:
        for key, value in figures.items():
            self.figures.setdefault(key, []).append(value)

    def median(self, key: str) -> float | None:
        values = self.figures.get(key)
        return statistics.median(values) if values else None


class Comparison(msgspec.Struct):
    """The outcome of one scenario; the first row is ours, columns are keyed as its figures."""

    title: str
    conditions: str
    columns: dict[str, Column]
    rows: list[Row]

    def table(self) -> str:
        arrows = [
            f"{column.heading} {'↑' if column.high else '↓'}" if column.compared else column.heading
            for column in self.columns.values()
        ]
        lines = [f"| | {' | '.join(arrows)} |", "|---|" + "--:|" * len(self.columns)]
        lines += [self._line(row) for row in self.rows]
        ours = [row for row in self.rows if _ours(row)]
        if ours and len(ours) < len(self.rows):
            for row in ours:
                cells = [self._ratio(row, key) for key in self.columns]
                cells = [each if each is None else f"{each:.2f}" for each in cells]
                name = f"{row.name} ÷ best other that persists"
                lines.append(f"| {name} | {' | '.join(each or '' for each in cells)} |")
        if ours and any(each.goal or each.share for each in self.columns.values()):
            cells = [self._goal(ours, key) for key in self.columns]
            lines.append(f"| goal | {' | '.join(cells)} |")
        notes = [
            f"- {row.name}: {text}"
            for row in self.rows
            for text in dict.fromkeys([*row.failures, *row.notes])
        ]
        return "\n".join([*lines, *(["", *notes] if notes else [])])

    def _line(self, row: Row) -> str:
        cells: list[str] = []
        for key, column in self.columns.items():
            value = row.median(key)
            if value is None:
                cells.append("failed" if row.failures else "")
                continue
            text = f"{value:,.{column.digits}f}"
            if (
                column.compared
                and row.competes
                and not row.failures
                and value == self._first(key, column)
            ):
                text = f"**{text}**"
            cells.append(f"{text}{_noise(row.figures[key])}")
        return f"| {row.name} | {' | '.join(cells)} |"

    def _first(self, key: str, column: Column) -> float:
        values = [row.median(key) for row in self.rows if row.competes and not row.failures]
        known = [value for value in values if value is not None]
        return max(known) if column.high else min(known)

    def _ratio(self, row: Row, key: str) -> float | None:
        column, ours = self.columns[key], row.median(key)
        values = [
            value
            for other in self.rows
            if other.competes and not other.failures and not _ours(other)
            if (value := other.median(key))
        ]
        if not column.compared or ours is None or not values:
            return None
        return ours / (max(values) if column.high else min(values))

    def _goal(self, ours: list[Row], key: str) -> str:
        """What was to be reached, and whether it was, by each row of ours."""
        column = self.columns[key]
        if column.goal is not None:
            text = f"{'≥' if column.high else '≤'} {column.goal:,g}"
            limit, values = column.goal, [row.median(key) for row in ours]
        elif column.share is not None:
            text = f"≤ {column.share:g} of the best other"
            limit, values = column.share, [self._ratio(row, key) for row in ours]
        else:
            return ""
        verdicts = [
            "met" if (value >= limit if column.high else value <= limit) else "missed"
            for value in values
            if value is not None
        ]
        return f"{text}: {', '.join(verdicts)}" if verdicts else text


def _ours(row: Row) -> bool:
    return row.name.startswith("CloudIDE")


def _noise(values: list[float]) -> str:
    """Half the distance between the best and the worst round, in percent of the median."""
    median = statistics.median(values)
    if len(values) < 2 or not median:
        return ""
    return f" ±{(max(values) - min(values)) / 2 / median:.0%}"
