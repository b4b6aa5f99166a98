"""Each stock image does what it is for: its tools run, its language servers answer.

What is built ahead is tried in every run; the others take minutes to build, and are tried in full.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shlex
from collections.abc import Callable

import pytest

from cloudide.images.stock import StockImages

pytest_plugins = ["engine"]

SECONDS = 60.0
HELLO_C = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n'
HELLO_CPP = '#include <iostream>\nint main() { std::cout << "hello\\n"; }\n'
HELLO_GO = 'package main\n\nimport "fmt"\n\nfunc main() { fmt.Println("hello") }\n'
HELLO_TS = 'const word: string = "hello";\nconsole.log(word);\n'
CMAKE = "cmake_minimum_required(VERSION 3.20)\nproject(p CXX)\nadd_executable(p a.cpp)\n"


def file(name: str, text: str) -> str:
    return f"printf %s {shlex.quote(text)} > {name}"


GO = f"{file('a.go', HELLO_GO)} && go run a.go"
CPP = (
    f"{file('a.cpp', HELLO_CPP)} && {file('CMakeLists.txt', CMAKE)} && cmake -G Ninja -B b . "
    ">/dev/null && ninja -C b >/dev/null && gdb --version >/dev/null && b/p"
)
TYPESCRIPT = f"{file('a.ts', HELLO_TS)} && tsc --outDir . --types '' a.ts && node a.js"
# Commands that say "hello" when all is well, and language servers on their standard streams.
HEALTH: dict[str, tuple[list[str], list[str]]] = {
    "base": (["git --version >/dev/null && make --version >/dev/null && echo hello"], []),
    "python": (
        ["python -c 'print(\"hello\")'", "ruff --version >/dev/null && echo hello"],
        ["basedpyright-langserver --stdio", "ruff server"],
    ),
    "node": (
        ["node -e 'console.log(\"hello\")'", TYPESCRIPT, "npm --version >/dev/null && echo hello"],
        ["tsc --lsp --stdio", "vscode-json-language-server --stdio"],
    ),
    "go": ([GO], ["gopls"]),
    "cpp": ([CPP, f"{file('a.c', HELLO_C)} && gcc a.c && ./a.out"], ["clangd"]),
    "full": (
        [CPP, GO, TYPESCRIPT, "python -c 'print(\"hello\")'"],
        ["clangd", "gopls", "tsc --lsp --stdio", "basedpyright-langserver --stdio"],
    ),
}
AHEAD = ("base", "python")


def test_each_image_is_tried(stock: StockImages) -> None:
    # polyglot is tried by the tests of language servers, with each of its own.
    assert set(HEALTH) == set(stock.images) - {"polyglot"}


@pytest.mark.timeout(3600)
async def test_images_are_healthy(stock: StockImages, soak: Callable[[int, int], int]) -> None:
    full = soak(1, 0)
    for id in HEALTH if full else AHEAD:
        commands, servers = HEALTH[id]
        image = await stock.ensure(id)
        for command in commands:
            assert await said(image, f"cd /tmp && {command}") == "hello", (id, command)
        for server in servers:
            assert "capabilities" in await initialized(image, server), (id, server)


def run(image: str, command: str, *options: str) -> list[str]:
    """As a workspace runs it: as its user, without capabilities."""
    limits = ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none"]
    return ["docker", "run", "--rm", "-i", *limits, *options, image, "sh", "-c", command]


async def said(image: str, command: str) -> str:
    """The last line that a command prints."""
    process = await asyncio.create_subprocess_exec(
        *run(image, command), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    return (output.decode().strip().splitlines() or [""])[-1]


async def initialized(image: str, server: str) -> dict[str, object]:
    """What a language server answers to `initialize`."""
    container = f"cloudide-health-{secrets.token_hex(4)}"
    process = await asyncio.create_subprocess_exec(
        *run(image, f"exec {server}", f"--name={container}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    parameters = {"processId": None, "rootUri": "file:///tmp", "capabilities": {}}
    request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": parameters}
    body = json.dumps(request).encode()
    try:
        process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        async with asyncio.timeout(SECONDS):
            while True:  # servers may say other things first
                length = 0
                while line := (await process.stdout.readline()).strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                assert length, f"{server} ended without an answer."
                message = json.loads(await process.stdout.readexactly(length))
                if message.get("id") == 1 and "result" in message:
                    return message["result"]
    finally:
        # Not all of them end with their input.
        ending = await asyncio.create_subprocess_exec(
            *("docker", "rm", "--force", container), stdout=asyncio.subprocess.DEVNULL
        )
        await ending.wait()
        await process.wait()
