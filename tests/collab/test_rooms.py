"""Rooms as clients meet them: joining, editing, refusal, epochs, slow readers, coming and going."""

from __future__ import annotations

import asyncio
import os

import pytest
from local import ADA, BOB, QUICK, WORKSPACE, Collab, Local
from raw import Raw

from cloudide.collab.text import content_hash
from cloudide.errors import (
    AgentUnavailable,
    EpochChanged,
    NotEditable,
    NotFound,
    PreconditionFailed,
    TooLarge,
)
from cloudide.identity.permissions import Role
from cloudide.protocol import sync
from cloudide.protocol.agent import ReadFile
from cloudide.protocol.varint import write_bytes, write_uint

PANIC = bytes.fromhex("01010328b1f7060300016100")  # has panicked a CRDT library
STEP_1_OF_2_28_ENTRIES = b"\x00\x00" + write_bytes(b"\x80\x80\x80\x80\x01\x01\x01\x01\x01\x01")


async def test_two_people_type_and_the_file_follows(collab: Collab) -> None:
    file = collab.write("src/a.txt", b"one\n")
    async with collab.join("src/a.txt") as ada, collab.join("src/a.txt", BOB) as bob:
        assert str(ada) == str(bob) == "one\n"
        await ada.insert(0, "ada ")
        await bob.append("bob é 👩‍💻\n")
        await ada.until(lambda: "bob" in str(ada))
        await bob.until(lambda: "ada" in str(bob))
        await ada.written()
        await bob.written()
        assert str(ada) == str(bob) == "ada one\nbob é 👩‍💻\n"
        assert file.read_text() == str(ada)


async def test_hello_comes_first_then_the_state_of_the_disk(collab: Collab) -> None:
    collab.write("a.txt", b"\xef\xbb\xbfone\r\n")
    async with collab.join("a.txt", role=Role.VIEWER) as viewer:
        assert viewer.frames[0][0] == sync.EXTENSION
        assert viewer.hello["read_only"] is True
        assert viewer.hello["reason"]
        assert viewer.hello["format"] == {"encoding": "utf-8", "bom": True, "eol": "\r\n"}
        assert viewer.frames[2][:2] == b"\x00\x00"


async def test_a_plain_client_gets_nothing_it_does_not_know(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt", extended=False) as plain, collab.join("a.txt") as other:
        await other.append("two\n")
        await plain.until(lambda: "two" in str(plain))
        await other.written()
        assert {frame[0] for frame in plain.frames} <= {sync.SYNC, sync.AWARENESS}


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00",
        b"\x00\x02\x05\x01",
        b"\x00\x07\x00",
        b"\x63",
        b"\xff" * 12,
        b"\x00\x02" + write_bytes(b"\x01\x01"),
        b"\x00\x02" + write_bytes(b"\xff\xff\xff\x7f\x00"),
        STEP_1_OF_2_28_ENTRIES,
        sync.update(b"\x00\x00") + b"\x00",
        b"\x01" + write_bytes(write_uint(1) + b"\x01\x01" + write_bytes(b"[1]")),
    ],
)
async def test_a_malformed_frame_closes_its_sender_and_the_room_lives(
    collab: Collab, frame: bytes
) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as good, collab.join("a.txt", BOB) as bad:
        await bad.send(frame)
        await bad.until(lambda: bad.close_code is not None)
        assert bad.close_code == 4400
        assert bad.close_reason
        await good.append("two\n")
        await good.written()
        assert good.close_code is None
    assert (collab.root / "a.txt").read_bytes() == b"one\ntwo\n"


async def test_an_update_that_panics_the_library_costs_nobody_an_edit(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as good, collab.join("a.txt", BOB) as bad:
        await good.append("two\n")
        await good.saved()
        for _ in range(3):
            await bad.send(sync.update(PANIC))
        if good.close_code is not None:  # the document was reloaded; clients come back
            assert good.close_code == 1013
            await good.connect()
        await good.append("three\n")
        await good.written()
        async with collab.join("a.txt", BOB) as other:
            assert str(other) == str(good) == "one\ntwo\nthree\n"
    assert (collab.root / "a.txt").read_bytes() == b"one\ntwo\nthree\n"


async def test_a_duplicate_is_acknowledged_once_its_original_is_durable(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as one, collab.join("a.txt", BOB) as other:
        await one.append("two\n")
        await one.saved()
        await other.until(lambda: "two" in str(other))
        await other.saved()
        state = other.acknowledged
        for _ in range(2):
            await other.send(sync.update(one.doc.get_update()))
        await other.until(lambda: other.acknowledged == state + 2)
        assert str(one) == str(other) == "one\ntwo\n"


async def test_a_gap_is_not_acknowledged_and_is_asked_for(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.saved()
        before = len(client.frames)
        state = client.doc.get_state()
        client.text += "lost "
        middle = client.doc.get_state()
        client.text += "late\n"
        lost, late = client.doc.get_update(state), client.doc.get_update(middle)
        client._outbox.clear()
        assert len(lost) > len(late)
        acknowledged = client.acknowledged
        await client.send(sync.update(late))
        client.sent += 1
        # The room's answer is step 1; the client's answer to that carries both.
        await client.until(
            lambda: any(frame[:2] == b"\x00\x00" for frame in client.frames[before:])
        )
        await client.until(lambda: client.acknowledged > acknowledged)
        async with collab.join("a.txt", BOB) as other:
            assert str(other) == "one\nlost late\n"


async def test_a_viewers_edit_is_refused_and_changes_nothing(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as editor, collab.join("a.txt", BOB, Role.VIEWER) as viewer:
        assert viewer.close_code is None, viewer.close_reason
        viewer.text.insert(0, "intruder ")
        await viewer.flush()
        await viewer.until(lambda: viewer.close_code is not None)
        assert viewer.close_code == 4403
        await editor.append("two\n")
        await editor.written()
        assert str(editor) == file.read_text() == "one\ntwo\n"


async def test_a_viewer_that_comes_back_with_an_edit_is_refused(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt", BOB, Role.VIEWER) as viewer:
        await viewer.leave()
        await viewer.insert(0, "typed while offline ")
        await viewer.connect()
        await viewer.until(lambda: viewer.close_code is not None)
        assert viewer.close_code == 4403
    async with collab.join("a.txt") as editor:
        assert str(editor) == "one\n"


async def test_names_and_colours_are_the_servers(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as ada, collab.join("a.txt", BOB) as bob:
        forged = {"cursor": {"anchor": 1}, "user": {"name": "root", "color": "red"}}
        await bob.send(sync.awareness([sync.AwarenessEntry(7, 1, forged)]))
        await ada.until(lambda: ada.awareness.get(7))
        assert ada.awareness[7]["user"]["name"] == "Bob"
        assert ada.awareness[7]["user"]["color"] == BOB.color
        assert ada.awareness[7]["cursor"] == {"anchor": 1}
        # Somebody else's id: neither moved nor removed.
        await ada.send(sync.awareness([sync.AwarenessEntry(7, 9, {"cursor": None})]))
        await ada.send(sync.awareness([sync.AwarenessEntry(7, 9, None)]))
        async with collab.join("a.txt") as later:
            await later.until(lambda: 7 in later.awareness)
            assert later.awareness[7]["cursor"] == {"anchor": 1}
        await bob.leave()
        await ada.until(lambda: ada.awareness[7] is None)


async def test_a_very_large_change_delays_nobody(collab: Collab) -> None:
    """A client comes back with a hundred thousand changes; others type on while they are read."""
    collab.write("a.txt", b"")
    count = 100_000
    client = 4_000_000_000
    first = b"\x04\x01\x07content\x01x"  # at the beginning of the text named "content"
    # Each before the one before it: as one run it would be a single change.
    others = [
        b"\x44" + write_uint(client) + write_uint(clock) + b"\x01x" for clock in range(count - 1)
    ]
    update = (
        b"\x01"
        + write_uint(count)
        + write_uint(client)
        + b"\x00"
        + first
        + b"".join(others)
        + b"\x00"
    )
    async with collab.join("a.txt", ADA) as ada:
        back = await Raw(collab, "a.txt", BOB).join()
        reading = asyncio.create_task(back.send_any(sync.update(update)))
        await asyncio.sleep(0)
        await ada.append("meanwhile")
        await ada.saved()
        assert not reading.done()
        await reading
        await back.settled()
        assert str(back.room.text) == str(ada) != "meanwhile"
        assert str(ada).count("x") == count
        assert back.acknowledged == back.sent
        back.leave()


async def test_a_slow_reader_gets_one_difference_and_delays_nobody(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as fast, collab.join("a.txt", BOB, budget=4096) as slow:
        await slow.saved()
        slow.reading.clear()
        seen = len(slow.frames)
        for number in range(200):
            await fast.append(f"line {number} {'x' * 100}\n")
            await fast.saved()
        assert slow.channel.queued <= slow.budget + 4096
        slow.reading.set()
        await slow.until(lambda: str(slow) == str(fast))
        updates = [frame for frame in slow.frames[seen:] if frame[:2] == b"\x00\x02"]
        assert len(updates) < 40
        await slow.append("and it can edit again\n")
        await slow.saved()
        await fast.until(lambda: str(fast) == str(slow))


# ── opening ─────────────────────────────────────────────────────────────────────────────────────


async def test_many_who_come_at_once_share_one_load(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    clients = [Local(collab, "a.txt", ADA, Role.EDITOR) for _ in range(20)]
    await asyncio.gather(*(client.connect() for client in clients))
    for client in clients:
        await client.until(lambda client=client: str(client) == "one\n")
    assert sum(isinstance(call, ReadFile) for call in collab.hub.calls) == 1
    assert len({client.hello["epoch"] for client in clients}) == 1
    for client in clients:
        await client.close()


async def test_the_first_to_ask_may_go_away_without_the_others(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")

    async def join() -> None:
        await Local(collab, "a.txt", ADA, Role.EDITOR).connect()

    first = asyncio.create_task(join())
    second = asyncio.create_task(join())
    await asyncio.sleep(0)
    first.cancel()
    await second
    assert first.cancelled() or first.cancelling()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no newline",
        b"a\n",
        b"\xef\xbb\xbfbom\n",
        b"a\r\nb\r\n",
        b"\xef\xbb\xbfa\r\nb",
        b"\n\n",
    ],
)
async def test_opening_never_rewrites_and_an_edit_keeps_the_format(
    collab: Collab, content: bytes
) -> None:
    file = collab.write("a.txt", content)
    os.chmod(file, 0o640)
    before = file.stat()
    async with collab.join("a.txt"):
        pass
    await collab.unloaded("a.txt")
    async with collab.join("a.txt") as client:
        after = file.stat()
        assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)
        await client.insert(0, "x")
        await client.written()
        bom = b"\xef\xbb\xbf" if content.startswith(b"\xef\xbb\xbf") else b""
        assert file.read_bytes() == bom + b"x" + content[len(bom) :]
        assert file.stat().st_mode & 0o777 == 0o640
        await client.insert(1, "\n")
        await client.written()
        line = b"\r\n" if b"\r" in content else b"\n"
        assert file.read_bytes() == bom + b"x" + line + content[len(bom) :]
        del client.text[0:2]
        await client.flush()
        await client.written()
        assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"\0binary", NotEditable),
        (b"caf\xe9", NotEditable),
        (b"a\r\nb\n", NotEditable),
        (b"x" * (QUICK.editable_limit + 1), TooLarge),
    ],
)
async def test_what_cannot_be_edited_says_why(
    collab: Collab, content: bytes, error: type[Exception]
) -> None:
    collab.write("a", content)
    refusal = await collab.refused("a")
    assert isinstance(refusal, error)
    assert str(refusal)


async def test_a_file_that_is_not_there(collab: Collab) -> None:
    assert isinstance(await collab.refused("none.txt"), NotFound)
    collab.hub.cut = True
    assert isinstance(await collab.refused("none.txt"), AgentUnavailable)


# ── epochs ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_file_made_anew_is_another_document(collab: Collab) -> None:
    file = collab.write("a.txt", b"old\n")
    async with collab.join("a.txt", client_id=5) as stale:
        await stale.append("typed\n")
        await stale.written()
        former = stale.hello["epoch"]
    await collab.unloaded("a.txt")
    file.unlink()
    assert isinstance(await collab.refused("a.txt"), NotFound)
    collab.write("a.txt", b"new\n")
    async with collab.join("a.txt") as fresh:
        assert str(fresh) == "new\n"
        assert fresh.hello["epoch"] != former
        # One of ours names its epoch; a plain client gives itself away by the ids it knows.
        assert isinstance(await collab.refused("a.txt", epoch=former), EpochChanged)
        stale.extended = False
        await stale.connect()
        await stale.until(lambda: stale.close_code is not None)
        assert stale.close_code == 4409
        await fresh.append("more\n")
        await fresh.written()
        assert str(fresh) == file.read_text() == "new\nmore\n"
        stale.socket = None


async def test_the_same_epoch_is_let_in(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        epoch = client.hello["epoch"]
        async with collab.join("a.txt", epoch=epoch) as again:
            assert str(again) == "one\n"


# ── coming and going ────────────────────────────────────────────────────────────────────────────


async def test_a_room_that_was_unloaded_comes_back_as_it_was(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.append("two\n")
        await client.written()
        epoch = client.hello["epoch"]
    await collab.unloaded("a.txt")
    file.write_bytes(file.read_bytes() + b"three\n")
    await client.insert(0, "typed while away\n")
    await client.connect()
    await client.until(lambda: "three" in str(client))
    await client.written()
    assert client.hello["epoch"] == epoch
    assert str(client) == file.read_text() == "typed while away\none\ntwo\nthree\n"
    await client.close()


async def test_edits_of_the_last_moment_are_written_before_a_room_goes(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.append("last words\n")
    await collab.unloaded("a.txt")
    assert file.read_bytes() == b"one\nlast words\n"


async def test_rooms_follow_a_moved_folder(collab: Collab) -> None:
    collab.write("src/a.txt", b"one\n")
    async with collab.join("src/a.txt") as client:
        await client.append("two\n")
        await client.saved()
        await collab.rooms.flush(WORKSPACE, "src")
        (collab.root / "src").rename(collab.root / "lib")
        await collab.rooms.moved(WORKSPACE, "src", "lib")
        await client.until(lambda: client.moved == "lib/a.txt")
        await client.append("three\n")
        await client.written()
    async with collab.join("lib/a.txt", epoch=client.hello["epoch"]) as later:
        assert str(later) == "one\ntwo\nthree\n"
    assert (collab.root / "lib/a.txt").read_bytes() == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("another", [False, True])
async def test_who_was_away_while_a_file_moved_finds_it(collab: Collab, another: bool) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await client.append("two\n")
        await client.written()
        await client.leave()
        await client.append("typed while away\n")
        (collab.root / "a.txt").rename(collab.root / "b.txt")
        await collab.rooms.moved(WORKSPACE, "a.txt", "b.txt")
        if another:  # there is a file at the old path again, and somebody in its room
            collab.write("a.txt", b"another\n")
            async with collab.join("a.txt", BOB) as other:
                assert str(other) == "another\n"
        client.epoch = client.hello["epoch"]
        await client.connect()
        await client.until(lambda: client.moved == "b.txt")
        await client.written()
        await collab.rooms.flush(WORKSPACE, "b.txt")
    assert (collab.root / "b.txt").read_bytes() == b"one\ntwo\ntyped while away\n"


async def test_a_file_is_moved_to_where_another_was(collab: Collab) -> None:
    """The room of the file that was there has ended, in memory and in the journal."""
    collab.write("a.txt", b"one\n")
    collab.write("b.txt", b"another\n")
    async with collab.join("b.txt"):
        pass
    await collab.unloaded("b.txt")
    (collab.root / "b.txt").unlink()
    async with collab.join("a.txt") as client:
        (collab.root / "a.txt").rename(collab.root / "b.txt")
        await collab.rooms.moved(WORKSPACE, "a.txt", "b.txt")
        await client.until(lambda: client.moved == "b.txt")
        assert str(client) == "one\n"
        await client.append("two\n")
        await client.written()
    assert (collab.root / "b.txt").read_bytes() == b"one\ntwo\n"


async def test_a_workspace_that_is_gone_leaves_nothing(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt") as client:
        await collab.rooms.forget(WORKSPACE)
        await client.until(lambda: client.close_code is not None)
        assert client.close_code == 4404
    with collab.database() as db:
        for table in ("rooms", "updates", "intents", "former_agreements", "retired_clients"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)  # noqa: S608


# ── scripts beside people ───────────────────────────────────────────────────────────────────────


async def test_a_write_to_an_open_file_is_an_edit_of_its_room(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\ntwo\n")
    async with collab.join("a.txt") as client:
        await client.insert(0, "typed ")
        await client.saved()
        now = await collab.rooms.read(WORKSPACE, "a.txt")
        assert now == b"typed one\ntwo\n"
        new = b"typed one\nTWO\n"
        write = collab.rooms.write
        with pytest.raises(PreconditionFailed):
            await write(WORKSPACE, "a.txt", new, "bob", content_hash(b"one\ntwo\n"))
        hash = await write(WORKSPACE, "a.txt", new, "bob", content_hash(now))
        assert hash == content_hash(new)
        assert file.read_bytes() == new
        await client.until(lambda: str(client) == new.decode())


async def test_a_write_that_changes_only_the_line_ends_reaches_the_disk(collab: Collab) -> None:
    file = collab.write("a.txt", b"one\ntwo\n")
    async with collab.join("a.txt") as client:
        new = b"\xef\xbb\xbfone\r\ntwo\r\n"
        hash = await collab.rooms.write(WORKSPACE, "a.txt", new, "bob", None)
        assert hash == content_hash(new)
        assert file.read_bytes() == new
        await client.append("three\n")
        await client.written()
        assert file.read_bytes() == new + b"three\r\n"
    await collab.restart()
    async with collab.join("a.txt") as client:
        assert client.hello["format"] == {"encoding": "utf-8", "bom": True, "eol": "\r\n"}


async def test_a_file_that_is_not_open_is_none_of_the_rooms_business(collab: Collab) -> None:
    collab.write("a.txt", b"one\n")
    assert await collab.rooms.read(WORKSPACE, "a.txt") is None
    assert await collab.rooms.write(WORKSPACE, "a.txt", b"two\n", "bob", None) is None
