"""What the fuzzers found: messages that are well-formed and still did harm once."""

from __future__ import annotations

import pytest
from local import ADA, BOB, Collab
from pycrdt import Doc, Text
from raw import Raw

from cloudide.identity.permissions import Role
from cloudide.protocol import sync


async def test_nobody_else_is_told_a_clock_that_yjs_cannot_read(collab: Collab) -> None:
    """A removal counts one up, and lib0 throws ("Integer out of Range") above 2^53-1."""
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt", ADA) as editor:
        viewer = await Raw(collab, "a.txt", BOB, Role.VIEWER).join()
        viewer.send(sync.awareness([sync.AwarenessEntry(7, 2**53 - 1, {})]))
        assert viewer.close_code == 4400
        viewer.leave()
        await editor.append("two\n")
        await editor.written()


async def test_an_origin_inside_a_surrogate_pair_stops_its_sender(collab: Collab) -> None:
    """The CRDT library splits the character there into itself and an item of length 0, and hands
    that out: it is not kept, and who would send it again does not come back."""
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt", ADA) as good:
        bad = await Raw(collab, "a.txt", BOB).join()
        # A rocket is clocks 0 and 1 of client 1003; one more item, to the right of clock 0.
        frame = bytes.fromhex("0102eb0700040107636f6e74656e7404f09f988084eb0700017800")
        bad.send(sync.update(frame))
        bad.room.settle()
        assert bad.close_code == 4400
        await good.append("two\n")
        await good.written()
        assert (str(good), good.close_code) == ("one\ntwo\n", None)
    async with collab.join("a.txt", BOB) as fresh:
        assert str(fresh) == "one\ntwo\n"


@pytest.mark.parametrize("how", ["left", "right", "deletion"])
async def test_a_known_character_is_not_parted(collab: Collab, how: str) -> None:
    rocket = "\N{ROCKET}"
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt", ADA) as good:
        bad = await Raw(collab, "a.txt", BOB).join()
        doc: Doc[Text] = Doc(client_id=1003)
        doc.get("content", type=Text).insert(0, rocket)
        bad.send(sync.update(doc.get_update()))
        bad.room.settle()
        assert bad.close_code is None
        frame = {
            "left": "0101eb070284eb0700017800",  # to the right of its first half
            "right": "0101eb070244eb0701017800",  # to the left of its second half
            "deletion": "0001eb07010001",  # only its first half
        }[how]
        bad.send(sync.update(bytes.fromhex(frame)))
        bad.room.settle()
        assert bad.close_code == 4400
        await good.append("two\n")
        await good.written()
        assert good.close_code is None
        assert sorted(str(good)) == sorted(f"{rocket}one\ntwo\n")
        # Other emoji go on as they are.
        await good.append("\N{PILE OF POO}\N{ROCKET}")
        await good.insert(1, "\N{GRINNING FACE}")
        await good.written()
    async with collab.join("a.txt", BOB) as fresh:
        assert str(fresh) == str(good)


async def test_an_item_that_goes_on_where_the_document_has_only_its_grave(collab: Collab) -> None:
    """The known half of the last item was collected, so that nothing can be compared; the CRDT
    library would show the new half here, and emit it with an origin that nobody has."""
    collab.write("a.txt", b"one\n")
    async with collab.join("a.txt", ADA) as good:
        bad = await Raw(collab, "a.txt", BOB).join()
        for update in (
            "0103e907000801046c697374017d84e90700020400e90701066e657374656400",
            "0101e90708040107636f6e74656e7406e6b189e5ad9700",
        ):
            bad.send(sync.update(bytes.fromhex(update)))
            bad.room.settle()
        await good.append("two\n")
        await good.written()
        assert str(good) == str(bad.room.text)
