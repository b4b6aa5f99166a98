"""Dockerfiles, as far as they are read before the engine does; and why a step failed."""

from __future__ import annotations

import pytest

from cloudide.errors import Conflict, InvalidInput
from cloudide.images import dockerfile
from cloudide.images.steps import Step, explained
from cloudide.images.versions import Event, VersionState, after

TEXT = """# escape=`
ARG TAG=12
FROM debian:${TAG} AS one
# a comment
ARG A=1
RUN echo `
  # within
  a `

  b
FROM ${BASE:-one}
COPY --from=one --chown=1:1 / /
COPY --from=busybox:musl /bin/sh /
"""


def test_instructions_and_stages() -> None:
    found = dockerfile.read(TEXT)
    assert [(each.name, each.line) for each in found] == [
        ("ARG", 2),
        ("FROM", 3),
        ("ARG", 5),
        ("RUN", 6),
        ("FROM", 11),
        ("COPY", 12),
        ("COPY", 13),
    ]
    assert found[3].rest == "echo  a  b"
    assert [stage.image for stage in dockerfile.stages(found, {"TAG": "13"})] == [
        "debian:13",
        "one",
    ]
    assert dockerfile.bases(found, {}) == ["debian:12", "busybox:musl"]
    assert dockerfile.bases(found, {"TAG": "13"}) == ["debian:13", "busybox:musl"]
    assert dockerfile.arguments_at(found, 3, {}) == {"A": "1"}
    assert dockerfile.arguments_at(found, 3, {"A": "2", "B": "3"}) == {"A": "2"}


def test_each_stage_is_marked() -> None:
    lines = dockerfile.marked(dockerfile.read("FROM a\nRUN x\nFROM b\n"), {"l": "v"})
    assert [(line.text, line.origin) for line in lines] == [
        ("FROM a", 0),
        ('LABEL l="v"', None),
        ("RUN x", 1),
        ("FROM b", 2),
        ('LABEL l="v"', None),
    ]


def test_secrets_of_a_command() -> None:
    run = dockerfile.read(
        "FROM a\nRUN --mount=type=secret,id=T --mount=type=secret,id=U,target=/u,required cat /u\n"
    )[1]
    mounts, command = dockerfile.secret_mounts(run)
    assert command == "cat /u"
    assert [(each.id, each.target, each.required) for each in mounts] == [
        ("T", "/run/secrets/T", False),
        ("U", "/u", True),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("RUN true\n", "has no FROM"),
        ("FROM ${UNKNOWN}\n", "line 1: \\${UNKNOWN} has no value"),
        ("FROM a\n!bad\n", "line 2: '!bad' is no instruction"),
        ("FROM a b c d\n", "line 1: this FROM cannot be read"),
        ("FROM a\nRUN --mount=type=bind,target=/x true\n", "line 2: .*type=bind needs BuildKit"),
        ("FROM a\nRUN --network=none true\n", "line 2: RUN --network needs BuildKit"),
        ("FROM a\nRUN --mount=type=secret,id=T,target=../x true\n", "line 2: the target"),
    ],
)
def test_what_cannot_be_read_names_its_line(text: str, said: str) -> None:
    def read() -> None:
        found = dockerfile.read(text)
        dockerfile.bases(found, {})
        for each in found:
            dockerfile.secret_mounts(each)

    with pytest.raises(InvalidInput, match=said):
        read()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("The command '/bin/sh -c x' returned a non-zero code: 2", "exit code 2: the last words"),
        ("The command '/bin/sh -c x' returned a non-zero code: 127", "the image does not have"),
        ("The command '/bin/sh -c x' returned a non-zero code: 137", "more memory"),
        ("COPY failed: no such file\nmore", "failed: COPY failed: no such file."),
    ],
    ids=["code", "missing", "memory", "other"],
)
def test_a_failure_is_one_sentence(error: str, said: str) -> None:
    sentence = explained(Step("RUN x", 7), error, ["first", "the last words", ""])
    assert sentence.startswith("Line 7 (RUN x) ")
    assert said in sentence
    assert "\n" not in sentence


def test_a_version_moves_as_the_table_says() -> None:
    state = VersionState.DRAFT
    for event in (Event.BUILD, Event.BUILT, Event.CHECKED, Event.PROMOTE):
        state = after(state, event)
    assert state is VersionState.ACTIVE
    assert after(state, Event.REPLACED) is VersionState.CHECKED
    assert after(VersionState.BUILDING, Event.FAIL) is VersionState.DRAFT
    for refused in ((VersionState.ACTIVE, Event.RETIRE), (VersionState.BUILT, Event.PROMOTE)):
        with pytest.raises(Conflict):
            after(*refused)
