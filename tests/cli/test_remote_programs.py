"""`cloudide exec` and `cloudide port-forward`, as a person types them, against a real server."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator

import pytest
from browsing import TIMEOUT, program, until_linked
from promises.uncontained import WORKSPACE, Uncontained, uncontained
from server import ADMIN_TOKEN

BYTES = bytes(range(256)) * 8192  # 2 MiB


@pytest.fixture(scope="module")
async def site(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Uncontained]:
    async with uncontained(tmp_path_factory.mktemp("cli")) as server:
        await until_linked(server)
        yield server


async def started(site: Uncontained, *arguments: str, **more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cloudide", *arguments),
        env={**os.environ, "CLOUDIDE_URL": site.url, "CLOUDIDE_TOKEN": ADMIN_TOKEN, **more},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ran(
    site: Uncontained, *arguments: str, stdin: bytes = b"", **more: str
) -> tuple[int | None, bytes, bytes]:
    process = await started(site, *arguments, **more)
    async with asyncio.timeout(TIMEOUT):
        stdout, stderr = await process.communicate(stdin)
    return process.returncode, stdout, stderr


async def test_outputs_are_apart_and_the_exit_code_is_the_programs(site: Uncontained) -> None:
    script = "printf out; printf err >&2; exit 7"
    assert await ran(site, "exec", WORKSPACE, "--", "sh", "-c", script) == (7, b"out", b"err")
    by_name = await ran(site, "exec", "promises", "sh", "-c", script)
    assert by_name == (7, b"out", b"err")


async def test_input_goes_in_whole_and_its_end_is_heard(site: Uncontained) -> None:
    code, stdout, stderr = await ran(site, "exec", WORKSPACE, "--", "cat", stdin=BYTES)
    assert (code, stderr) == (0, b"")
    assert stdout == BYTES


async def test_folder_and_environment(site: Uncontained) -> None:
    (site.root / "below").mkdir(exist_ok=True)
    options = ("--cwd", "below", "--env", "A=b=c")
    code, stdout, _ = await ran(site, "exec", *options, WORKSPACE, "sh", "-c", 'echo "$PWD $A"')
    assert (code, stdout.decode()) == (0, f"{site.root}/below b=c\n")


async def test_a_signal_is_for_the_program(site: Uncontained) -> None:
    script = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.01; done"
    process = await started(site, "exec", WORKSPACE, "--", "sh", "-c", script)
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        assert await process.stdout.read() == b"caught\n"
        assert await process.wait() == 9


async def test_a_program_that_a_signal_ends(site: Uncontained) -> None:
    code, _, _ = await ran(site, "exec", WORKSPACE, "--", "sh", "-c", "kill -9 $$")
    assert code == 128 + 9


async def test_a_program_ends_with_the_connection(site: Uncontained) -> None:
    process = await started(site, "exec", WORKSPACE, "--", "sh", "-c", "echo $$; exec sleep 1000")
    assert process.stdout is not None
    async with asyncio.timeout(TIMEOUT):
        pid = int(await process.stdout.readline())
        process.kill()
        await process.wait()
        while os.path.exists(f"/proc/{pid}"):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.02)  # nothing tells of another's child


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("exec", "nowhere", "true"), "There is no workspace 'nowhere'"),
        (("exec", WORKSPACE, "no-such-program"), "no-such-program"),
        (("exec", "--env", "nonsense", WORKSPACE, "true"), "NAME=VALUE"),
        (("exec", "--token", "wrong", WORKSPACE, "true"), "token is not valid"),
        (("exec", "--url", "http://127.0.0.1:1", WORKSPACE, "true"), "cannot be reached"),
        (("exec", "--url", "nonsense", WORKSPACE, "true"), "not the address"),
        (("port-forward", WORKSPACE, "80@evil"), "is not PORT or PORT:LOCAL"),
        (("port-forward", WORKSPACE, "0"), "is not PORT or PORT:LOCAL"),
        (("port-forward", WORKSPACE, "65536"), "is not PORT or PORT:LOCAL"),
    ],
)
async def test_what_cannot_be_done_is_one_clear_sentence(
    site: Uncontained, arguments: tuple[str, ...], said: str
) -> None:
    code, _, stderr = await ran(site, *arguments)
    assert code == 1
    assert said in stderr.decode()
    assert "Traceback" not in stderr.decode()


async def test_forwarded_connections_carry_bytes_and_half_closes(site: Uncontained) -> None:
    async def reverse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read())[::-1])
        writer.write_eof()
        await writer.drain()

    async with program(reverse) as port:
        process = await started(site, "port-forward", WORKSPACE, f"{port}:0")
        assert process.stdout is not None
        assert process.stderr is not None

        async def exchange(data: bytes) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(data)
            writer.write_eof()
            try:
                return await reader.read()
            finally:
                writer.close()

        async with asyncio.timeout(TIMEOUT):
            line = (await process.stdout.readline()).decode()
            found = re.match(r"127\.0\.0\.1:(\d+) ", line)
            assert found, line
            local = int(found[1])
            contents = [BYTES, b"", b"short", BYTES[:70_000]]
            answers = await asyncio.gather(*(exchange(data) for data in contents))
            assert answers == [data[::-1] for data in contents]
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(TIMEOUT):
            assert await process.wait() == 0
            assert await process.stderr.read() == b""


async def test_a_forwarded_port_where_nothing_listens_says_so(site: Uncontained) -> None:
    async with program(lambda reader, writer: asyncio.sleep(0)) as port:
        pass
    process = await started(site, "port-forward", WORKSPACE, f"{port}:0")
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(TIMEOUT):
        local = int((await process.stdout.readline()).decode().partition(" ")[0].partition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        finally:
            writer.close()
        assert f"Nothing listens on port {port}" in (await process.stderr.readline()).decode()
    process.terminate()
    async with asyncio.timeout(TIMEOUT):
        await process.wait()
