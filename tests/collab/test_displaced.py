"""Programs that write the file around the very moment in which the server writes it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from local import WORKSPACE, Collab
from peer import WAIT_SECONDS

from cloudide.protocol.agent import ReleaseSwap, WriteFile


def rename_over(file: Path, content: bytes) -> None:
    """How editors and `sed -i` write."""
    new = file.with_name("new")
    new.write_bytes(content)
    new.replace(file)


async def test_sed_from_what_was_just_displaced_undoes_nothing(collab: Collab) -> None:
    """The program reads a change that the room has not seen, the room writes over it, and then the
    program writes."""
    file = collab.write("a.txt", b"one\ntwo\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call
        raced = False

        async def call(agent, request):
            nonlocal raced
            if not isinstance(request, WriteFile) or raced:
                return await real(agent, request)
            raced = True
            rename_over(file, b"one\ntwo\nfrom disk\n")
            answer = await real(agent, request)
            rename_over(file, b"one\nby sed\ntwo\nfrom disk\n")
            return answer

        collab.hub._call = call
        await client.insert(0, "typed\n")
        await client.until(lambda: "by sed" in str(client) and "from disk" in str(client))
        await client.append("end\n")
        await client.written()
        wanted = "typed\none\nby sed\ntwo\nfrom disk\nend\n"
        assert str(client) == file.read_text() == wanted


async def test_killed_before_sed_writes_what_was_just_displaced(collab: Collab) -> None:
    """As above, and the server dies before it sees what the program wrote: the next one knows what
    the program had read."""
    file = collab.write("a.txt", b"one\ntwo\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call

        async def call(agent, request):
            if isinstance(request, WriteFile):
                rename_over(file, b"one\ntwo\nfrom disk\n")
            elif isinstance(request, ReleaseSwap):
                rename_over(file, b"one\nby sed\ntwo\nfrom disk\n")
                collab.hub.cut = True
                collab.hub.lost.set()
                collab.hub.agent(WORKSPACE)
            return await real(agent, request)

        collab.hub._call = call
        await client.insert(0, "typed\n")
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        collab.hub._call = real
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.until(lambda: "by sed" in str(client))
        await client.written()
        assert str(client) == file.read_text() == "typed\none\nby sed\ntwo\nfrom disk\n"


async def test_killed_before_a_write_that_looks_like_what_comes_then(collab: Collab) -> None:
    """What the server was about to write never came; a program writes the like of it."""
    file = collab.write("a.txt", b"base\n")
    async with collab.join("a.txt") as client:
        real = collab.hub._call

        async def call(agent, request):
            if isinstance(request, WriteFile):
                collab.hub.cut = True
                collab.hub.lost.set()
                collab.hub.agent(WORKSPACE)
            return await real(agent, request)

        collab.hub._call = call
        await client.append("the line number 55\n")
        await asyncio.wait_for(collab.hub.lost.wait(), WAIT_SECONDS)
        collab.hub._call = real
        file.write_bytes(b"base\nthe line number 73\n")
        await collab.restart()
        await client.until(lambda: client.close_code is not None)
        await client.connect()
        await client.until(lambda: "73" in str(client))
        await client.written()
        typed, by_program = "the line number 55\n", "the line number 73\n"
        assert sorted(str(client)) == sorted("base\n" + typed + by_program)
        assert typed in str(client)
        assert by_program in str(client)
        assert file.read_text() == str(client)
