"""Promise 7: what builds on something missing, or reuses somebody's clocks, is never acknowledged.

A gap is asked for, and nothing after it is acknowledged until it is healed. A collision (known
clocks with another content) ends its connection and leaves the document as it was. What is known
already, in whatever pieces, is acknowledged.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from local import BOB, Collab
from pycrdt import Doc, Text, merge_updates
from raw import Raw
from record import record

from cloudide.protocol import sync

CASES_PER_FILE = 40  # a text that only grows would measure itself
WORDS = ("a", "word", "é", "汉字", "😀", "a 👩‍💻 b", "\n", "x" * 40)
COLLIDED = 4409


class Copy:
    """A client's document, made from the room's state; `updates` are what it would have sent."""

    def __init__(self, choose: random.Random, state: bytes, client: int = 0) -> None:
        self.choose = choose
        self.doc: Doc[Text] = Doc(client_id=client or choose.randrange(1, 2**31))
        self.text = self.doc.get("content", type=Text)
        self.doc.apply_update(state)
        self.updates: list[bytes] = []
        self.doc.observe(lambda event: self.updates.append(event.update))

    @property
    def client(self) -> int:
        return self.doc.client_id

    def place(self) -> int:
        """An offset between two characters, in bytes."""
        text = str(self.text)
        return len(text[: self.choose.randrange(len(text) + 1)].encode())

    def type(self, word: str = "", at: int | None = None) -> int:
        """Insert a word somewhere; returns the offset of it."""
        at = self.place() if at is None else at
        self.text.insert(at, word or self.choose.choice(WORDS))
        return at

    def erase(self) -> None:
        text = str(self.text)
        if text:
            start = self.choose.randrange(len(text))
            end = min(len(text), start + self.choose.randrange(1, 6))
            offset = len(text[:start].encode())
            del self.text[offset : offset + len(text[start:end].encode())]

    def whole(self) -> bytes:
        return self.doc.get_update()


# ── what is missing ─────────────────────────────────────────────────────────────────────────────


def later_half(mine: Copy) -> bytes:
    at = mine.type("first")
    mine.type("second", at + 5)
    return mine.updates[-1]


def next_clock(mine: Copy) -> bytes:
    """Nothing of it depends on what is missing but the order of its own clocks."""
    mine.type("end", len(str(mine.text).encode()))
    mine.type("start", 0)
    return mine.updates[-1]


def erasure_of_the_unknown(mine: Copy) -> bytes:
    at = mine.type("nobody knows this")
    del mine.text[at : at + 6]
    return mine.updates[-1]


def hole(mine: Copy) -> bytes:
    for _ in range(3):
        mine.type("word", 0)
    return merge_updates(mine.updates[0], mine.updates[2])


def beside_the_unknown(mine: Copy) -> bytes:
    """Another client's word in the middle of one that never arrived."""
    at = mine.type("never arrives")
    other = Copy(mine.choose, mine.whole())
    other.type("between", at + 5)
    mine.doc.apply_update(other.updates[0])
    return other.updates[0]


GAPS = (later_half, next_clock, erasure_of_the_unknown, hole, beside_the_unknown)


async def gap(collab: Collab, path: str, choose: random.Random) -> None:
    client = await Raw(collab, path).join()
    room = client.room
    before, seq = room.doc.get_update(), room.seq
    mine = Copy(choose, before)
    update = choose.choice(GAPS)(mine)
    client.frames.clear()
    client.send(sync.update(update))
    await client.settled()
    assert client.close_code is None
    assert client.asked
    assert not client.acknowledged
    assert (room.seq, room.doc.get_update()) == (seq, before)
    other = Copy(choose, before)
    other.type()
    client.send(sync.update(other.updates[0]))  # this is taken, but lies behind the gap
    await client.settled()
    assert not client.acknowledged
    client.send(sync.step_2(mine.whole()))
    await client.settled()
    assert client.acknowledged == client.sent == 3
    mine.doc.apply_update(other.updates[0])
    assert str(room.text) == str(mine.text)
    client.leave()


# ── what contradicts ────────────────────────────────────────────────────────────────────────────


async def collision(collab: Collab, path: str, choose: random.Random) -> None:
    """Two documents with one client id: the second one to send something is refused."""
    one, other = await Raw(collab, path).join(), await Raw(collab, path, BOB).join()
    room = one.room
    start = room.doc.get_update()
    mine = Copy(choose, start)
    known = choose.choice(("", "", "same "))  # what both of them have sent
    at = mine.place()
    if known:
        mine.type(known, at)
    twin = Copy(choose, mine.whole(), mine.client)

    for _ in range(choose.randrange(1, 4)):
        mine.type("mine " + choose.choice(WORDS), at + len(known))
    for _ in range(choose.randrange(1, 4)):
        twin.type("twin" + choose.choice(WORDS), at + len(known))
    for update in mine.updates:
        one.send(sync.update(update))
    await one.settled()
    assert one.acknowledged == one.sent
    if choose.random() < 0.3:
        third = Copy(choose, room.doc.get_update())
        third.type()

        one.send(sync.update(merge_updates(*third.updates)))
        await one.settled()
    before, seq = room.doc.get_update(), room.seq
    other.frames.clear()
    frames = [
        sync.update(twin.updates[0]),
        sync.update(merge_updates(*twin.updates)),
        sync.step_2(twin.whole()),
        sync.update(twin.whole()),
    ]
    other.send(choose.choice(frames))
    await other.settled()
    assert other.close_code == COLLIDED
    assert other.asked
    assert not other.acknowledged
    assert (room.seq, room.doc.get_update()) == (seq, before)
    assert one.close_code is None
    one.leave()
    other.leave()


# ── what is known ───────────────────────────────────────────────────────────────────────────────


async def duplicate(collab: Collab, path: str, choose: random.Random) -> None:
    client = await Raw(collab, path).join()
    room = client.room
    mine = Copy(choose, room.doc.get_update())
    at = mine.type("one two three 汉字😀")
    for letter in "abc":
        mine.type(letter, at)
    for update in mine.updates:
        client.send(sync.update(update))
    await client.settled()
    third = Copy(choose, room.doc.get_update())
    if choose.random() < 0.5:
        third.type("into the middle", at + 6)
    if choose.random() < 0.5:
        third.erase()
        del third.text[at + 1 : at + 4]
    if third.updates:
        client.send(sync.update(merge_updates(*third.updates)))
    if choose.random() < 0.3:
        del mine.text[at : at + 2]  # this, at least, is news
    if choose.random() < 0.5:
        mine.type("and more")
    frames = [
        *(sync.update(update) for update in mine.updates),
        sync.update(merge_updates(*mine.updates)),
        sync.update(mine.whole()),
        sync.step_2(mine.whole()),
        sync.step_2(third.whole()),
    ]
    choose.shuffle(frames)
    whole = frames.index(sync.step_2(mine.whole()))
    frames.insert(0, frames.pop(whole))  # or the rest would have gaps
    for frame in frames:
        client.send(frame)
    await client.settled()
    assert client.close_code is None
    assert client.acknowledged == client.sent
    for update in third.updates:
        mine.doc.apply_update(update)
    assert str(room.text) == str(mine.text)
    client.leave()


async def test_gaps_and_collisions_are_never_acknowledged(
    collab: Collab, soak: Callable[[int, int], int]
) -> None:
    cases = soak(10_000, 1000)
    for number in range(cases):
        path = f"{number // CASES_PER_FILE}.txt"
        if number % CASES_PER_FILE == 0:
            collab.write(path, b"first\nlast\n")
        choose = random.Random(number)  # noqa: S311 - a replayable order, not a secret
        kind = collision if number % 2 else gap
        try:
            await kind(collab, path, choose)
        except BaseException as error:
            error.add_note(f"{kind.__name__} {number}")
            raise
    record(7, f"{cases:,} gaps and collisions, none acknowledged.")


async def test_what_is_known_is_acknowledged_in_whatever_pieces(
    collab: Collab, soak: Callable[[int, int], int]
) -> None:
    for number in range(soak(2000, 100)):
        if number % CASES_PER_FILE == 0:
            collab.write(f"{number}.txt", b"first\nlast\n")
        path = f"{number // CASES_PER_FILE * CASES_PER_FILE}.txt"
        try:
            await duplicate(collab, path, random.Random(number))  # noqa: S311
        except BaseException as error:
            error.add_note(f"duplicate {number}")
            raise
