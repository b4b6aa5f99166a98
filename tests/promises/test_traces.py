"""Recorded editing sessions, replayed through real sockets, end with the recorded text.

The everyday run takes the excerpts beside this file; the full one takes the whole recordings from
the folder that CLOUDIDE_TRACES names (or `../shared/traces`), and fails without them.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from peer import Peer
from record import record
from uncontained import HEADERS, Uncontained, uncontained

from cloudide.protocol import sync

EXCERPTS = Path(__file__).parent / "traces"
WHOLE = Path(__file__).resolve().parents[3] / "shared" / "traces"
WINDOW = 500  # edits that may wait for their acknowledgement


def trace_named(name: str, full: bool) -> dict[str, Any]:
    folder = Path(os.environ.get("CLOUDIDE_TRACES") or WHOLE) if full else EXCERPTS
    file = folder / f"{name}.json.gz"
    assert file.exists(), f"{file} is missing; CLOUDIDE_TRACES names the folder of the recordings."
    return json.loads(gzip.decompress(file.read_bytes()))


class Author(Peer):
    """Makes the recorded changes."""

    step_2s = 0

    def make(self, patches: list[tuple[int, int, str]], content: str) -> str:
        """Change `content`, which is the text as it is here; returns the new one."""
        with self.doc.transaction():
            for position, deleted, inserted in patches:
                # Recorded positions count code points, the library's bytes.
                start = position if content.isascii() else len(content[:position].encode())
                if deleted:
                    gone = content[position : position + deleted]
                    del self.text[start : start + len(gone.encode())]
                if inserted:
                    self.text.insert(start, inserted)
                content = content[:position] + inserted + content[position + deleted :]
        return content

    async def send(self, count: int | None = None) -> None:
        """Send the first `count` changes that were not sent yet; None: all."""
        kept = [] if count is None else self._outbox[count:]
        if kept:
            del self._outbox[count:]
        await self.flush()
        self._outbox += kept
        if self.sent - self.acknowledged >= WINDOW:
            await self.saved()

    async def catch_up(self, other: Author) -> None:
        """Have all that `other` has sent."""
        await other.saved()
        # Who has nothing yet gets the document in several messages, the step 2 first.
        for _ in range(1 if str(self) else 2):
            before = self.step_2s
            assert self.socket is not None
            await self.socket.send(sync.step_1(self.doc.get_state()))
            await self.until(lambda before=before: self.step_2s > before)

    async def _handle(self, frame: bytes) -> None:
        await super()._handle(frame)
        self.step_2s += frame[:2] == b"\x00\x01"


@pytest.fixture(scope="module")
async def replaying(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    async with uncontained(tmp_path_factory.mktemp("traces")) as server:
        yield server


async def ends_with(text: str, server: Uncontained, path: str, *peers: Peer) -> None:
    for peer in peers:
        await peer.until(lambda peer=peer: str(peer) == text)
    for peer in peers:
        await peer.saved()
        await peer.until(lambda peer=peer: peer.disk.get("state") == "clean")
    assert (server.root / path).read_text() == text
    late = await server.joined(path)
    await late.until(lambda: str(late) == text)
    for peer in (late, *peers):
        await peer.close()


async def joined(server: Uncontained, path: str, **options: Any) -> Author:
    author = Author(server.collab(path), additional_headers=HEADERS, **options)
    await server.join(author)
    return author


@pytest.mark.parametrize("name", ["sveltecomponent", "rustcode", "seph-blog1"])
async def test_one_author(
    replaying: Uncontained, soak: Callable[[int, int], int], name: str
) -> None:
    trace = trace_named(name, bool(soak(1, 0)))
    path = f"{name}.txt"
    (replaying.root / path).write_text(trace["startContent"])
    writer, reader = await joined(replaying, path), await joined(replaying, path)
    content = trace["startContent"]
    for transaction in trace["txns"]:
        content = writer.make(transaction["patches"], content)
        await writer.send()
    assert content == trace["endContent"]
    await ends_with(content, replaying, path, writer, reader)
    record(f"Trace {name}", f"{len(trace['txns']):,} transactions end with the recorded text.")


async def test_two_authors_at_once(replaying: Uncontained, soak: Callable[[int, int], int]) -> None:
    """Each changes the text knowing just what its author knew: what the other one has made since is
    sent when it is needed."""
    name = "friendsforever"
    trace = trace_named(name, bool(soak(1, 0)))
    path = f"{name}.txt"
    (replaying.root / path).write_text("")
    # Where both type at one place the smaller id goes first, as the smaller agent does.
    authors = [await joined(replaying, path, client_id=agent + 1) for agent in (0, 1)]
    made, sent = [0, 0], [0, 0]
    known: list[tuple[int, int]] = []  # how many of each agent's transactions each of them knows
    for transaction in trace["txns"]:
        mine = transaction["agent"]
        author, other = authors[mine], authors[1 - mine]
        parents = [known[parent] for parent in transaction["parents"]]
        needed = max((parent[1 - mine] for parent in parents), default=0)
        if needed > sent[1 - mine]:
            await other.send(needed - sent[1 - mine])
            sent[1 - mine] = needed
            await author.catch_up(other)
        author.make(transaction["patches"], str(author))
        made[mine] += 1
        knows = [needed, needed]
        knows[mine] = made[mine]
        known.append((knows[0], knows[1]))
    for author in authors:
        await author.send()
    await ends_with(trace["endContent"], replaying, path, *authors)
    record(f"Trace {name}", f"{len(trace['txns']):,} transactions end with the recorded text.")
