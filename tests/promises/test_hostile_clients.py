"""Promises 8 and 9: nothing that a viewer sends changes a document, and no spoilt update hurts
anybody but its sender."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from hostile import CLAIMS, Hostile, real_updates
from local import ADA, BOB, Collab
from pycrdt import Doc, Text
from raw import Raw
from record import record
from uncontained import WORKSPACE, uncontained
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from cloudide.identity.permissions import Role
from cloudide.protocol import sync

DENIED, MALFORMED, GONE = 4403, 4400, 4409
MESSAGES_PER_FILE = 5000
TURN = 50  # messages between two turns of the loop
GROWTH = 50 * 1024 * 1024  # bytes
REAL_UPDATES = 400


@pytest.fixture(scope="module")
def updates() -> list[bytes]:
    return real_updates(REAL_UPDATES)


def fingerprint(collab: Collab, raw: Raw) -> str:
    """Everything that an edit would change."""
    digest = hashlib.sha256(raw.room.doc.get_update())
    digest.update(str(raw.room.text).encode())
    with collab.database() as db:
        for table in ("rooms", "updates"):
            rows = db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()  # noqa: S608
            digest.update(repr(rows).encode())
    return digest.hexdigest()


async def test_a_viewer_changes_nothing(
    collab: Collab, updates: list[bytes], soak: Callable[[int, int], int]
) -> None:
    messages = soak(1_000_000, 20_000)
    file = collab.write("a.txt", b"first\nlast\n")
    hostile = Hostile(8, updates)
    closed: Counter[int | None] = Counter()
    async with collab.join("a.txt", ADA) as editor:
        await editor.append("typed [😀]\n")
        await editor.written()
        viewer = await Raw(collab, "a.txt", BOB, Role.VIEWER).join()
        await collab.journal.barrier()
        before = fingerprint(collab, viewer)
        for number in range(messages):
            frame = hostile.frame()
            await viewer.send_any(frame)
            if viewer.close_code is not None:
                assert viewer.close_code in (DENIED, MALFORMED), frame.hex()
                closed[viewer.close_code] += 1
            if viewer.close_code is not None or number % TURN == 0:
                viewer.leave()
                viewer.frames.clear()
                editor.frames.clear()
                editor.awareness.clear()
                await viewer.join()
            if number % TURN == 0:
                await asyncio.sleep(0)
        for update in updates:
            viewer.leave()
            await viewer.join()
            await viewer.send_any(sync.update(update))
            assert viewer.close_code in (DENIED, MALFORMED), update.hex()
        viewer.leave()
        await viewer.join()
        await viewer.settled()
        assert fingerprint(collab, viewer) == before
        viewer.leave()
        assert editor.close_code is None
        await editor.append("and on\n")
        await editor.written()
        assert file.read_text() == str(editor)
    assert closed[DENIED] > messages // 100
    assert closed[MALFORMED] > messages // 100
    record(8, f"{messages:,} messages of a viewer, {closed[DENIED]:,} denied, nothing changed.")


async def test_a_viewers_real_socket_changes_nothing(tmp_path: Path, updates: list[bytes]) -> None:
    hostile = Hostile(88, updates)
    async with uncontained(tmp_path) as server:
        (server.root / "a.txt").write_text("first\n")
        invite = await server.api.post(
            "/api/v1/invites", json={"workspace": WORKSPACE, "role": "viewer"}
        )
        async with httpx.AsyncClient(base_url=server.url, headers={"Origin": server.url}) as guest:
            body = {"token": invite["url"].partition("#")[2], "name": "Vera"}
            assert (await guest.post("/api/v1/invites/accept", json=body)).status_code == 200
            cookie = "; ".join(f"{name}={value}" for name, value in guest.cookies.items())
        headers = {"Cookie": cookie, "Origin": server.url}
        url = server.collab("a.txt").replace("http", "ws", 1)
        editor = await server.joined("a.txt")
        await editor.until(lambda: str(editor) == "first\n")

        async def code_for(frames: list[bytes]) -> int:
            async with connect(url, additional_headers=headers, compression=None) as socket:
                try:
                    for frame in frames:
                        await socket.send(frame)
                    await socket.send(sync.update(updates[1]))  # one that would be understood
                    async for _ in socket:
                        pass
                except ConnectionClosed:
                    pass
                assert socket.close_code is not None
                return socket.close_code

        assert await code_for([]) == DENIED
        for _ in range(100):
            frames = [hostile.frame() for _ in range(3)]
            assert await code_for(frames) in (DENIED, MALFORMED)
        await editor.append("and on\n")
        await editor.saved()
        await editor.until(lambda: editor.disk.get("state") == "clean")
        assert (server.root / "a.txt").read_text() == str(editor) == "first\nand on\n"
        await editor.close()


async def test_a_spoilt_update_costs_its_sender_only(
    collab: Collab, updates: list[bytes], soak: Callable[[int, int], int]
) -> None:
    messages = soak(500_000, 20_000)
    hostile = Hostile(9, updates)
    closed: Counter[int | None] = Counter()
    memory = 0
    for first in range(0, messages, MESSAGES_PER_FILE):
        path = f"{first}.txt"
        collab.write(path, b"first\n")
        async with collab.join(path, ADA) as good:
            bad = await Raw(collab, path, BOB).join()
            bad.send(CLAIMS)
            assert bad.close_code == MALFORMED
            for number in range(first, min(messages, first + MESSAGES_PER_FILE)):
                if bad.close_code is not None:
                    closed[bad.close_code] += 1
                    bad.leave()
                    await bad.join()
                bad.frames.clear()
                frame = hostile.spoilt_update()
                await bad.send_any(frame)
                bad.room.settle()
                assert bad.close_code in (None, MALFORMED, GONE), frame.hex()
                assert good.close_code is None, frame.hex()
                if number % TURN == 0:
                    await asyncio.sleep(0)
                if number % 1000 == 0:
                    good.text.insert(0, f"good {number} ")
                    await good.flush()
                    await good.saved()
                    good.frames.clear()
            bad.leave()
            await good.append("the end")
            await good.saved()
            room = bad.room
            await good.until(lambda good=good, room=room: str(good) == str(room.text))
            # The journal gives the same to whoever opens it next.
            fresh: Doc[Text] = Doc()
            fresh.apply_update(room.doc.get_update())
            assert str(fresh.get("content", type=Text)) == str(good)
        memory = memory or psutil.Process().memory_info().rss  # the first file warmed up
    growth = psutil.Process().memory_info().rss - memory
    assert growth <= GROWTH
    assert closed[MALFORMED] > messages // 100
    record(
        9,
        f"{messages:,} spoilt updates, {closed.total():,} connections closed, all of them the "
        f"sender's; {growth / 1024 / 1024:.0f} MiB more memory.",
    )
