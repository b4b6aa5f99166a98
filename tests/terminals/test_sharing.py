"""Several people at one terminal: who types, who decides about the size, who waits for whom."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from linked import linked
from shared import KEY, TIMEOUT, Screen, Shared, grant_of, shared

from cloudide.errors import Denied, InvalidInput, NotFound, TooMany
from cloudide.identity.permissions import Role
from cloudide.settings import Settings
from cloudide.terminals.recording import Recording
from cloudide.terminals.stream import TerminalStream
from cloudide.terminals.terminals import Terminals

CAT = ("sh", "-c", "stty raw -echo; printf begun; exec cat")


async def begun(*screens: Screen) -> None:
    for screen in screens:
        await screen.ready()
        await screen.shows(b"begun")


# ── who types ───────────────────────────────────────────────────────────────────────────────────


async def test_viewers_look_and_editors_type(sharing: Shared) -> None:
    id = await sharing.open(*CAT)
    ann, guest = sharing.look(id), sharing.look(id, "gus", Role.VIEWER)
    await begun(ann, guest)
    assert ann.told("ready")[0]["writable"]
    assert not guest.told("ready")[0]["writable"]
    with pytest.raises(Denied):
        await guest.type(b"x")
    with pytest.raises(Denied):
        await guest.say(type="control", hold=True)
    await ann.type(b"hello")
    await guest.shows(b"hello")
    assert guest.told("typed") == [
        {"type": "typed", "person": {"id": "ann", "name": "Ann", "color": "#123456"}}
    ]
    (typist,) = sharing.view(id)["typed"]
    assert typist["id"] == "ann"


async def test_only_the_owner_types(sharing: Shared) -> None:
    id = await sharing.open(*CAT)
    ann, bob = sharing.look(id), sharing.look(id, "bob")
    await begun(ann, bob)
    with pytest.raises(Denied):
        await sharing.terminals.configure(grant_of("bob"), id, "owner")
    await sharing.terminals.configure(grant_of("ann"), id, "owner")
    assert bob.told("typing")[-1]["writable"] is False
    assert ann.told("typing")[-1]["writable"] is True
    await bob.type(b"not this")
    await ann.type(b"but this")
    await bob.shows(b"but this")
    assert b"not this" not in bob.output
    # Who owns the workspace takes it over.
    view = await sharing.terminals.configure(grant_of("sue", Role.OWNER), id, "owner")
    assert view["owner"].id == "sue"
    assert ann.told("typing")[-1]["writable"] is False
    await sharing.terminals.configure(grant_of("sue", Role.OWNER), id, "everyone")
    await bob.type(b"now")
    await ann.shows(b"now")


async def test_others_write_and_the_owner_presses_enter(sharing: Shared) -> None:
    id = await sharing.open(*CAT)
    ann, bob = sharing.look(id), sharing.look(id, "bob")
    await begun(ann, bob)
    await sharing.terminals.configure(grant_of("ann"), id, "approve")
    assert bob.told("typing")[-1] == {
        "type": "typing",
        "mode": "approve",
        "owner": {"id": "ann", "name": "Ann", "color": "#123456"},
        "control": None,
        "writable": True,
    }
    for enter in (b"\r", b"\n", b"\x0f", b"\x03", b"\x04", b"\x1a", b"\x1bOM", b"\x1b\r", b"\x1c"):
        await bob.type(enter)
    await bob.type(b"ls -l\x1b[D\x1b[1;5C\xc3\xa9\t\x7f\r; rm -rf x\n")
    await ann.type(b"\r")
    await ann.shows(b"\r")
    assert ann.output == b"begun" + b"ls -l\x1b[D\x1b[1;5C\xc3\xa9\t\x7f; rm -rf x\r"
    assert {told["person"]["id"] for told in ann.told("held")} == {"bob"}


async def test_the_record_outlives_the_server_and_cannot_be_forged(tmp_path: Path) -> None:
    async with linked(tmp_path) as link:
        async with Terminals(link.agents, Settings(), KEY) as terminals:
            terminals.connected(link.agent)
            sharing = Shared(link, terminals)
            id = await sharing.open(*CAT)
            other = await sharing.open(*CAT, who="bob")
            ann = sharing.look(id)
            await begun(ann)
            await ann.type(b"x")
            await ann.shows(b"begunx")
            await terminals.configure(grant_of("ann"), id, "owner")
        infos = {info.id: info for info in await link.agent.terminals()}
        await link.agent.keep_record(other, infos[id].record)  # another terminal's
        link.agent.hello.terminals[:] = await link.agent.terminals()
        async with Terminals(link.agents, Settings(), KEY) as terminals:
            terminals.connected(link.agent)
            sharing = Shared(link, terminals)
            view = sharing.view(id)
            assert (view["owner"].id, view["typing"]) == ("ann", "owner")
            assert [typist["id"] for typist in view["typed"]] == ["ann"]
            assert sharing.view(other)["owner"] is None
            assert sharing.view(other)["typing"] == "everyone"


async def test_keys_are_taken_before_the_past_was_shown(sharing: Shared) -> None:
    id = await sharing.open(*CAT)
    ann = sharing.look(id)
    await ann.type(b"early")
    await ann.shows(b"early")


async def test_one_of_several_emulators_answers(sharing: Shared) -> None:
    id = await sharing.open(*CAT)
    ann, bob = sharing.look(id), sharing.look(id, "bob")
    await begun(ann, bob)
    await bob.type(b"b")
    await ann.shows(b"begunb")
    await ann.type(b"\x1b[?1;2c")
    await bob.type(b"\x1b[?62c")
    await ann.type(b"\x1b[I")
    await ann.type(b".")
    await bob.shows(b".")
    assert bob.output == b"begunb\x1b[?62c."


# ── size ────────────────────────────────────────────────────────────────────────────────────────


async def test_the_size_is_that_of_the_smallest_whom_anybody_sees(sharing: Shared) -> None:
    id = await sharing.open("sh", "-c", "while read x; do stty size; done")
    ann, bob = sharing.look(id), sharing.look(id, "bob")
    await ann.ready()
    await bob.ready()

    async def is_now(cols: int, rows: int) -> None:
        await ann.until(
            lambda _: (sharing.view(id)["cols"], sharing.view(id)["rows"]) == (cols, rows)
        )
        await ann.type(b"\n")
        await ann.until(lambda screen: screen.output.endswith(b"%d %d\r\n" % (rows, cols)))

    await ann.say(type="resize", cols=100, rows=30)
    await is_now(100, 30)
    await bob.say(type="resize", cols=90, rows=50)
    await is_now(90, 30)
    await bob.until(lambda _: bob.told("resize"))
    assert bob.told("resize")[-1] == {"type": "resize", "cols": 90, "rows": 30}
    await bob.say(type="visible", visible=False)
    await is_now(100, 30)
    await bob.say(type="control", hold=True)
    await is_now(90, 50)
    assert ann.told("typing")[-1]["control"]["id"] == "bob"
    await bob.viewer.leave()
    await is_now(100, 30)
    assert ann.told("typing")[-1]["control"] is None
    await ann.say(type="resize", cols=-5, rows=10**12)
    await is_now(1, 1000)
    for nonsense in ('{"type":"resize","cols":"80","rows":24}', '{"type":"resize"}', "[", "{}"):
        with pytest.raises(InvalidInput, match="not understood"):
            await ann.receive(nonsense)


async def test_a_size_that_is_asked_for_before_the_past_is_there(sharing: Shared) -> None:
    """Which of the two comes first is nobody's choice; viewers and programs agree all the same."""
    for number in range(20):
        id = await sharing.open("sh", "-c", "read x; stty size; sleep 999")
        ann = sharing.look(id)
        for _ in range(number):
            await asyncio.sleep(0)  # another moment each time
        await ann.say(type="resize", cols=100, rows=30)
        await ann.type(b"\n")
        await ann.shows(b"30 100")
        sizes = [(each["cols"], each["rows"]) for each in ann.controls if "cols" in each]
        assert sizes[-1] == (100, 30)
        await sharing.terminals.close("one", id)


# ── flow ────────────────────────────────────────────────────────────────────────────────────────


class Drawing:
    """An emulator that acknowledges what it has drawn, when it is told to."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen

    async def draw(self) -> None:
        number = self.screen.told("replay")[-1]["number"]
        await self.screen.say(type="ack", number=number, bytes=self.screen.shown)


async def test_a_program_waits_for_the_viewer_in_control_alone(sharing: Shared) -> None:
    """Who typed last and draws slowly holds the program up, others do not, and nobody for long."""
    total = 6_000_000
    script = f"stty raw -echo; printf begun; head -c 1 >/dev/null; yes | head -c {total}; sleep 999"
    id = await sharing.open("sh", "-c", script)
    ann, bob = sharing.look(id), sharing.look(id, "bob")
    await begun(ann, bob)
    drawing, lazy = Drawing(ann), Drawing(bob)
    await drawing.draw()
    await lazy.draw()  # and never again
    await ann.type(b"g")
    async with asyncio.timeout(TIMEOUT):
        held = 0
        while ann.shown < total:
            await ann.until(
                lambda screen: screen.shown >= total or not screen.viewer.caught_up.is_set()
            )
            held += not ann.viewer.caught_up.is_set()
            await drawing.draw()
    assert held > 0
    assert ann.shown == total + len(b"begun")
    assert len(ann.told("replay")) == 1


async def test_who_draws_nothing_is_waited_for_once(
    sharing: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cloudide.terminals.terminal.PATIENCE", 0.2)
    script = "stty raw -echo; printf begun; head -c 1 >/dev/null; yes | head -c 12000000; exit 3"
    id = await sharing.open("sh", "-c", script)
    ann, bob = sharing.look(id), sharing.look(id, "bob")
    await begun(ann, bob)
    await Drawing(ann).draw()
    await ann.type(b"g")
    await bob.until(lambda screen: screen.told("exit"))
    assert bob.shown >= 12_000_000
    assert ann.told("exit") == [{"type": "exit", "code": 3}]
    assert ann.shown < 12_000_000  # it lags, and was spared the rest


async def test_a_stuck_reader_gets_a_replay_and_holds_nobody_up(sharing: Shared) -> None:
    script = "stty raw -echo; printf begun; head -c 1 >/dev/null; yes | head -c 4000000; cat"
    id = await sharing.open("sh", "-c", script)
    ann, bob = sharing.look(id), sharing.look(id, "bob")
    await begun(ann, bob)
    bob.channel.pause()
    await ann.type(b"g")
    await ann.until(lambda screen: screen.shown >= 4_000_000)
    assert bob.channel.queued <= bob.channel.budget
    bob.channel.resume()
    await bob.until(lambda screen: len(screen.told("ready")) == 2)
    await ann.type(b"the end")
    await bob.shows(b"the end")
    assert bob.output.endswith(b"y\ny\nthe end")


# ── recordings ──────────────────────────────────────────────────────────────────────────────────


def events(recording: Recording) -> tuple[dict[str, object], list[tuple[str, str]]]:
    header, *lines = recording.content().decode().splitlines()
    decoded = [json.loads(line) for line in lines]
    times = [at for at, _, _ in decoded]
    assert times == sorted(times)
    return json.loads(header), [(kind, data) for _, kind, data in decoded]


async def test_a_recording_is_an_asciicast(sharing: Shared) -> None:
    id = await sharing.open(*CAT)
    ann = sharing.look(id)
    await begun(ann)
    with pytest.raises(NotFound):
        sharing.terminals.recording("one", id)
    view = sharing.terminals.record(grant_of("ann"), id)
    assert view["recording"]["running"] is True
    recording = sharing.terminals.recording("one", id)
    async with asyncio.timeout(TIMEOUT):
        while not recording.size:  # the past is on its way
            await sharing.link.agent.terminals()
    await ann.say(type="resize", cols=100, rows=30)
    await ann.type("é🐍".encode()[:3])
    await ann.type("é🐍".encode()[3:])
    await ann.shows("é🐍".encode())
    await ann.viewer.leave()  # it goes on without anybody who looks
    bob = sharing.look(id, "bob")
    await bob.type(b"more")
    await bob.shows(b"more")
    sharing.terminals.end_recording("one", id)
    await bob.type(b"after")
    await bob.shows(b"after")
    header, told = events(recording)
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert "".join(data for kind, data in told if kind == "o") == "beguné🐍more"
    assert [data for kind, data in told if kind == "r"] == ["100x30"]
    assert bob.told("recording")[-1]["recording"]["running"] is False
    sharing.terminals.delete_recording("one", id)
    with pytest.raises(NotFound):
        sharing.terminals.recording("one", id)


async def test_recordings_are_bounded(tmp_path: Path) -> None:
    async with shared(tmp_path, terminal_recording=10_000) as sharing:
        ids = [await sharing.open("sh", "-c", "seq 1 9999; read x") for _ in range(5)]
        for id in ids[:4]:
            sharing.terminals.record(grant_of("ann"), id)
        with pytest.raises(TooMany, match="4 recordings"):
            sharing.terminals.record(grant_of("ann"), ids[4])
        ann = sharing.look(ids[0])
        await ann.shows(b"9999")
        recording = sharing.terminals.recording("one", ids[0])
        assert recording.truncated
        assert not recording.running
        assert recording.size <= 10_000
        await sharing.terminals.close("one", ids[0])
        sharing.terminals.record(grant_of("ann"), ids[4])


# ── the end ─────────────────────────────────────────────────────────────────────────────────────


async def test_who_comes_between_the_end_and_the_closing_hears_of_it(
    sharing: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that has ended is let go of a moment later: no one may hang on it."""
    id = await sharing.open("sh", "-c", "read x; exit 7")
    ann = sharing.look(id)
    await ann.ready()
    late: list[Screen] = []
    original = TerminalStream.finish

    def finish(self: TerminalStream) -> None:
        if not self.over.done() and not late:
            late.append(sharing.look(id, "bob"))
        original(self)

    monkeypatch.setattr(TerminalStream, "finish", finish)
    await ann.type(b"\n")
    await ann.until(lambda screen: screen.closed)
    await late[0].until(lambda screen: screen.closed)
    assert late[0].told("exit") == ann.told("exit") == [{"type": "exit", "code": 7}]


async def test_code_and_signal_are_told_apart(sharing: Shared) -> None:
    for script, exit in (("exit 9", {"code": 9}), ("kill -9 $$", {"signal": 9})):
        id = await sharing.open("sh", "-c", f"read x; {script}")
        ann = sharing.look(id)
        await ann.type(b"\n")
        await ann.until(lambda screen: screen.closed)
        assert ann.told("exit") == [{"type": "exit", **exit}]
        assert sharing.view(id)["exit"] == exit
        # Nothing comes of input to what has ended, and its last screen is still shown.
        again = sharing.look(id)
        await again.type(b"echo nothing\n")
        await again.until(lambda screen: screen.closed)
        assert again.told("exit") == [{"type": "exit", **exit}]
