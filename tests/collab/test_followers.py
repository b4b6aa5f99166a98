"""What follows a room hears of every change of its text, and keeps the room loaded."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from local import WORKSPACE, Collab, collaborating
from peer import WAIT_SECONDS

from cloudide.collab.anchors import AFTER
from cloudide.protocol import sync
from cloudide.protocol.varint import write_uint


class Mirror:
    """Text that is kept by what it is told."""

    def __init__(self) -> None:
        self.text = b""
        self.transactions = 0
        self.gone = False
        self.paths = 0

    async def follow(self, collab: Collab, path: str) -> Any:
        room = await collab.rooms.follow(WORKSPACE, path, self)
        self.text = str(room.text).encode()
        return room

    def changed(self, delta: list[dict[str, Any]]) -> None:
        self.transactions += 1
        at = 0
        for part in delta:
            at += part.get("retain", 0)
            inserted = part.get("insert", "").encode()
            self.text = self.text[:at] + inserted + self.text[at + part.get("delete", 0) :]
            at += len(inserted)

    def moved(self) -> None:
        self.paths += 1

    def lost(self) -> None:
        self.gone = True


async def test_people_the_disk_and_edits_are_heard(tmp_path: Path) -> None:
    async with collaborating(tmp_path) as collab:
        collab.write("a.txt", "é\none\n".encode())
        mirror = Mirror()
        room = await mirror.follow(collab, "a.txt")
        async with collab.join("a.txt") as ada:
            await ada.insert(1, "😀")
            await ada.saved()
            room.splice([(0, 2, "E"), (7, 10, "two")], "ada")
            assert str(room.text) == "E😀\ntwo\n"
            await ada.until(lambda: str(ada) == "E😀\ntwo\n")
            await ada.written()
            collab.write("a.txt", "E😀\ntwo\nthree\n".encode())
            await ada.until(lambda: str(ada).endswith("three\n"))
            assert mirror.text.decode() == str(room.text)
            assert mirror.transactions == 3
        room.unfollow(mirror)
        await collab.unloaded("a.txt")
        assert not mirror.gone


async def test_a_room_that_is_followed_stays_and_tells_its_end(tmp_path: Path) -> None:
    async with collaborating(tmp_path) as collab:
        collab.write("a.txt", b"one\n")
        mirror = Mirror()
        room = await mirror.follow(collab, "a.txt")
        async with collab.join("a.txt"):
            entry = collab.rooms._open[WORKSPACE, "a.txt"]
        if entry.unloading is not None:
            await asyncio.wait([entry.unloading])
        assert (WORKSPACE, "a.txt") in collab.rooms._open
        await collab.rooms.moved(WORKSPACE, "a.txt", "b.txt")
        assert (mirror.paths, room.path) == (1, "b.txt")
        await collab.rooms.forget(WORKSPACE)
        assert mirror.gone


async def test_what_a_client_sent_is_waited_for_and_its_position_found(tmp_path: Path) -> None:
    async with collaborating(tmp_path) as collab:
        collab.write("a.txt", b"one\n")
        mirror = Mirror()
        room = await mirror.follow(collab, "a.txt")
        async with collab.join("a.txt", client_id=77) as ada:
            state: Any = {"cursor": None}
            await ada.send(sync.awareness([sync.AwarenessEntry(77, 1, state)]))
            connection = room.connection_of(77, "ada")
            assert connection is ada.connection
            assert room.connection_of(77, "bob") is None
            assert room.connection_of(78, "ada") is None
            arrived = asyncio.Event()
            connection.await_message(ada.sent + 1, arrived.set)
            assert not arrived.is_set()
            await ada.insert(3, "é!")
            async with asyncio.timeout(WAIT_SECONDS):
                await arrived.wait()
            assert connection.answered == ada.sent
            anchor = b"\x00" + write_uint(77) + write_uint(1) + AFTER
            assert room.resolve(anchor) == 5
        room.unfollow(mirror)
