"""Whoever comes late sees what the others see: recorded sessions, at random moments."""

from __future__ import annotations

import gzip
import random
from itertools import pairwise
from pathlib import Path

import pytest
from screens import DUMP, Step, screens, seen

from cloudide.protocol.scrollback import Scrollback

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.gz"))
JOINS = 200 // 7 + 1  # for each recording: more than 200 in all
LIMITS = (2_000, 6_000, 20_000, 1_000_000)  # bytes of scrollback; the last keeps everything
# Two screens that have nothing in common, not even the cursor's place.
JUNK = (
    b"\x1b[H" + b"X" * 80 * 30 + b"\x1b[5;7H",
    b"\x1b[H" + b"\x1b[41m" + b"yz " * 200 + b"\x1b[m\r\n" * 3 + b"\x1b[20;60H",
)


def recorded(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def kept(output: bytes, limit: int, chance: random.Random) -> Scrollback:
    """What is kept of `output` that comes in pieces of any length."""
    scrollback = Scrollback(limit)
    cuts = sorted(chance.sample(range(len(output) + 1), min(len(output), 40)))
    for start, end in pairwise([0, *cuts, len(output)]):
        scrollback.append(output[start:end])
    return scrollback


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
async def test_a_late_joiner_sees_what_the_others_see(path: Path) -> None:
    """At the moment of joining, and at the end of the session.

    Where the scrollback does not reach back to the beginning, equality is asked for whenever what
    is kept decides about the screen, whatever was on it before; then it is two emulators with
    different junk on their screens that agree. Modes are to be equal always.
    """
    output = recorded(path)
    chance = random.Random(path.stem)  # noqa: S311
    moments = sorted(chance.randrange(1, len(output)) for _ in range(JOINS))
    live: list[Step] = []
    for start, end in pairwise([0, *moments]):
        live += [output[start:end], DUMP]
    jobs = [[*live, output[moments[-1] :], DUMP]]
    scrollbacks = [
        kept(output[:moment], LIMITS[number % len(LIMITS)], chance)
        for number, moment in enumerate(moments)
    ]
    for moment, scrollback in zip(moments, scrollbacks, strict=True):
        rest = output[moment:]
        jobs.append([scrollback.replay(), DUMP, rest, DUMP])
        for junk in JUNK:
            modes, content = scrollback.modes.restore(), bytes(scrollback.content)
            enter = b"\x1b[?1049h" if scrollback.modes.alternate else b""
            jobs.append([enter + junk + modes, content, DUMP, rest, DUMP])
    (*seen_live, end), *others = await screens(*jobs)

    lost = decided = 0
    for number, scrollback in enumerate(scrollbacks):
        joined, *judges = others[3 * number : 3 * number + 3]
        lost += scrollback.lost > 0
        for step, truth in enumerate((seen_live[number], end)):
            where = f"{path.stem} at byte {moments[number]}, {scrollback.lost} lost, step {step}"
            assert joined[0]["answers"] == [], where
            assert joined[step]["modes"] == truth["modes"], where
            assert joined[step]["screen"] == truth["screen"], where
            if not scrollback.lost:
                assert joined[step]["serialized"] == truth["serialized"], where
                assert joined[step]["title"] == truth["title"], where
            elif seen(judges[0][step]) != seen(judges[1][step]):
                continue
            assert seen(joined[step]) == seen(truth), where
            decided += scrollback.lost > 0
    assert lost > JOINS // 4
    # These two never draw the whole screen again by themselves.
    assert decided > lost // 2 or path.stem in ("htop", "progress")


QUESTIONS = [
    b"\x1b[c", b"\x1b[>c", b"\x1b[=c", b"\x1b[0c", b"\x1bZ", b"\x1b[5n", b"\x1b[6n", b"\x1b[?6n",
    b"\x1b[?2026$p", b"\x1b[4$p", b"\x1b[>q", b"\x1b[>0q", b"\x1b[14t", b"\x1b[16t", b"\x1b[18t",
    b"\x1b[x", b"\x1b[?u", b"\x1b[?1;1;0S", b"\x1b]10;?\x07", b"\x1b]11;?\x1b\\", b"\x1b]12;?\x07",
    b"\x1b]4;1;?\x07", b"\x1b]4;1;#fff;2;?\x1b\\", b"\x1b]52;c;?\x07", b"\x1b]52;c;aGVsbG8=\x07",
    b"\x1bP$qm\x1b\\", b"\x1bP$qr\x1b\\", b'\x1bP$q"p\x1b\\', b"\x1bP+q544e\x1b\\", b"\x05",
    b"\x07", b"\x1b[21t",
    b"\xc2\x9bc", b"\xc2\x9b6n", b"\xc2\x9d10;?\x07", b"\xc2\x90$qm\xc2\x9c", b"\xc2\x9a",
]  # fmt: skip
PLAIN = [
    b"text",
    "é🐍".encode(),
    b"\x1b[1;31m",
    b"\x1b]0;title\x07",
    b"\r\n",
    b"\x1b[3;4H",
    b"\x1b[K",
]


async def test_what_is_replayed_is_never_answered_and_never_rings() -> None:
    """500 random mixtures of questions, bells and output: live they are answered, replayed not."""
    chance = random.Random(5)  # noqa: S311
    jobs: list[list[Step]] = []
    for number in range(500):
        parts = [*chance.choices([*QUESTIONS, *PLAIN], k=12), chance.choice(QUESTIONS)]
        scrollback = Scrollback(30 if number % 2 else 10_000)
        for part in parts:
            scrollback.append(part)
        jobs += [[b"".join(parts), DUMP], [scrollback.replay(), DUMP]]
    dumps = [job[0] for job in await screens(*jobs)]
    asked = 0
    for number, (live, late) in enumerate(zip(dumps[::2], dumps[1::2], strict=True)):
        asked += live["answers"] != []
        assert late["answers"] == [], jobs[2 * number + 1][0]
        if number % 2 == 0:
            assert seen(late) == seen(live), jobs[2 * number][0]
    assert asked > 400
