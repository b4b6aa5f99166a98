"""What ripgrep prints is read, bounded and turned into columns; what is wrong is left out."""

from __future__ import annotations

import json

import pytest

from cloudide.errors import InvalidInput
from cloudide.search.ripgrep import (
    LINE_LIMIT,
    NEWLINE,
    Query,
    Reader,
    arguments,
    paths_of,
    replaced,
    replacing,
)
from cloudide.search.search import check


def message(kind: str, **data: object) -> bytes:
    return json.dumps({"type": kind, "data": data}, ensure_ascii=False).encode() + b"\n"


def matched(text: str, *spans: tuple[int, int], line: int = 1) -> bytes:
    submatches = [{"match": {"text": ""}, "start": start, "end": end} for start, end in spans]
    return message("match", lines={"text": text}, line_number=line, submatches=submatches)


def begin(path: str) -> bytes:
    return message("begin", path={"text": path})


END = message("end", path={"text": ""})


def test_columns_are_counted_as_editors_and_as_the_server_count_them() -> None:
    text = "é𝄞 x é\n"
    at = len("é𝄞 ".encode())
    reader = Reader()
    (found,) = reader.feed(begin("./a.py") + matched(text, (at, at + 1), line=7) + END)
    (line,) = found.lines
    (match,) = line.matches
    assert (found.path, found.count, line.text) == ("a.py", 1, "é𝄞 x é")
    assert (match.line, match.start, match.end) == (7, 4, 5)  # 𝄞 counts twice
    assert (match.bytes, match.text) == ((at, at + 1), "x")


def test_output_may_be_cut_anywhere() -> None:
    output = begin("a") + matched("one\n", (0, 3)) + END + begin("b") + matched("é\n", (0, 2)) + END
    for size in (1, 3, 7):
        reader = Reader()
        found = [
            each
            for start in range(0, len(output), size)
            for each in reader.feed(output[start : start + size])
        ]
        assert [each.path for each in found] == ["a", "b"]
        assert found[1].lines[0].text == "é"


def test_of_a_long_line_the_part_with_the_first_match_is_shown() -> None:
    text = "x" * 5000 + "needle" + "y" * 5000
    (found,) = Reader().feed(begin("a") + matched(text + "\n", (5000, 5006)) + END)
    (line,) = found.lines
    assert len(line.text) == 300
    assert line.text[line.matches[0].start - line.offset :].startswith("needle")


def test_what_is_too_long_or_not_understood_is_left_out_and_said() -> None:
    reader = Reader()
    long = matched("z" * (LINE_LIMIT + 10) + "\n", (0, 1))
    output = begin("a") + long + b"nonsense\n" + matched("ok\n", (0, 2), line=3) + END
    (found,) = [
        each
        for start in range(0, len(output), 65536)
        for each in reader.feed(output[start : start + 65536])
    ]
    assert [line.matches[0].line for line in found.lines] == [3]
    assert reader.skipped


@pytest.mark.parametrize("span", [(-1, 2), (2, 1), (0, 99), (1, 2)], ids=str)
def test_places_that_are_not_in_the_line_are_left_out(span: tuple[int, int]) -> None:
    assert not list(Reader().feed(begin("a") + matched("é", span) + END))


def test_files_whose_names_or_lines_are_not_text_are_left_out() -> None:
    nameless = message("begin", path={"bytes": "/w=="})
    assert not list(Reader().feed(nameless + matched("x\n", (0, 1)) + END))
    raw = message("match", lines={"bytes": "/w=="}, line_number=1, submatches=[])
    assert not list(Reader().feed(begin("a") + raw + END))


def test_a_query_is_no_option() -> None:
    command = arguments(Query("--pre=sh", include=("!x", "src/")), ["-rf"])
    assert command[command.index("--") :] == ["--", "--pre=sh", "./-rf"]
    assert "--glob=x" in command
    assert "--glob=src/**" in command


def test_replacements_are_by_place_and_may_have_lines() -> None:
    output = f"./a b\x0012:1:x:y\r\n./a b\x0012:9:one{NEWLINE}two\r\nnoise\n".encode()
    assert replaced(output) == {("a b", 12, 0): "x:y", ("a b", 12, 8): "one\ntwo"}


def test_a_number_ends_where_its_digits_end() -> None:
    command = replacing(Query("x", regex=True), "$1st ${name} $$2 $22", ["a"])
    assert "--replace=${1}st ${name} $$2 ${22}" in command


def test_paths_are_listed_up_to_a_limit() -> None:
    assert paths_of(b"./a\0./b c\0\xff\0", 9) == (["a", "b c"], False)
    assert paths_of(b"./a\0./b\0", 1) == (["a"], True)


@pytest.mark.parametrize(
    "query",
    [Query(""), Query("x" * 5000), Query("a\nb"), Query("a\0"), Query("a", include=("",))],
    ids=["empty", "long", "lines", "nul", "pattern"],
)
def test_what_cannot_be_searched_for_is_refused(query: Query) -> None:
    with pytest.raises(InvalidInput):
        check(query)
