"""Git's speaker of HTTP in a terminal, with somebody to ask where it needs a sign-in.

    git_remote <Git's programs> <git-remote-http or -https> <remote> <url>     gitremote-helpers(7)

Git's own program does the work, directly, as if this were not here. When the host asks for a
sign-in and no credential helper of the person's knows one, ours notes that and has it give up. Then
the server is asked, and it asks the person who types in this terminal, in their browser. If they
allow it, Git's program is started again with an address of the server's making, where it is let in;
what Git had said to the first one is said to the second. No secret comes here.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

READ_SIZE = 64 * 1024
RECORD_LIMIT = 1024 * 1024  # bytes of what Git says before it is let in
PATIENCE = 200.0  # seconds for an answer; people have sixty, twice
TELLING = 1.0  # seconds that the server has to say why something failed
GAVE_UP = b"told us to quit"


def main(arguments: list[str]) -> int:
    real, name, remote, *rest = arguments
    program = os.path.join(real, name)
    url = rest[0] if rest else remote
    environment = {**os.environ, "GIT_EXEC_PATH": real}
    folder = environment.get("CLOUDIDE_GIT", "")
    if not folder or not environment.get("CLOUDIDE_TERMINAL") or not _may_be_asked(url):
        os.execve(program, [program, remote, *rest], environment)  # noqa: S606 - Git's own
    mark = os.path.join(folder, f"mark-{secrets.token_hex(8)}")
    relay = _Relay()
    try:
        first = _with(environment, [("credential.helper", os.path.join(folder, "credential"))])
        code = relay.run([program, remote, url], {**first, "CLOUDIDE_GIT_MARK": mark})
        if not os.path.exists(mark) or not relay.can_repeat:
            return code
    finally:
        with suppress(FileNotFoundError):
            os.unlink(mark)
    _say(f"{urlsplit(url).hostname} wants a sign-in. Answer the question in your browser.")
    with socket.socket(socket.AF_UNIX) as connection:
        answer = _ask(connection, folder, url, relay.pushes)
        if answer.get("type") == "granted":
            there = str(answer["url"])
            granted = [
                ("credential.helper", ""),
                ("http.proxy", ""),
                ("http.followRedirects", "false"),
            ]
            _say(f"Signed in as {answer['who']}.")
            http = os.path.join(real, "git-remote-http")
            code = relay.run([http, remote, there], _with(environment, granted), (there, url))
            if code and (why := _why(connection)):
                _say(why)
            return code
    _say(str(answer.get("message", "The server did not answer.")))
    if answer.get("ask_here"):
        return relay.run([program, remote, url], environment)
    return 128


def _may_be_asked(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _ask(connection: socket.socket, folder: str, url: str, pushes: bool) -> dict[str, Any]:
    """The server's answer; what it grants lasts as long as the connection."""
    parts = urlsplit(url)
    question = {
        "type": "may_i",
        "service": "git-receive-pack" if pushes else "git-upload-pack",
        # A password in it is nobody's business.
        "url": parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl(),
        "branch": _git("symbolic-ref", "--quiet", "--short", "HEAD"),
        "commit": _git("rev-parse", "--verify", "--quiet", "HEAD"),
    }
    line = {"origin": os.environ["CLOUDIDE_TERMINAL"], "question": question}
    try:
        connection.settimeout(PATIENCE)
        connection.connect(os.path.join(folder, "socket"))
        connection.sendall(json.dumps(line).encode() + b"\n")
        said = b""
        while not said.endswith(b"\n"):
            data = connection.recv(READ_SIZE)
            if not data:
                break
            said += data
        return json.loads(said or b"{}")
    except (OSError, ValueError) as error:
        return {"message": f"The server could not be asked: {error}", "ask_here": True}


def _why(connection: socket.socket) -> str:
    """Why what was granted came to nothing, if the server knows more than Git says."""
    connection.settimeout(TELLING)
    with suppress(OSError, ValueError):
        return str(json.loads(connection.recv(READ_SIZE)).get("message", ""))
    return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    return done.stdout.decode(errors="replace").strip()


def _with(environment: dict[str, str], pairs: list[tuple[str, str]]) -> dict[str, str]:
    count = environment.get("GIT_CONFIG_COUNT", "0")
    first = int(count) if count.isascii() and count.isdigit() else 0
    more = {**environment, "GIT_CONFIG_COUNT": str(first + len(pairs))}
    for number, (key, value) in enumerate(pairs, first):
        more[f"GIT_CONFIG_KEY_{number}"], more[f"GIT_CONFIG_VALUE_{number}"] = key, value
    return more


def _say(text: str) -> None:
    sys.stderr.write(f"CloudIDE: {text}\n")
    sys.stderr.flush()


class _Relay:
    """Between Git and a program that speaks for it; another may take the place of the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said: bytearray | None = bytearray()  # by Git; None: more than is kept
        self._ended = False  # Git has no more to say
        self._stdin: int | None = None  # of the program at work
        self._answered = 0  # bytes that Git was told
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def can_repeat(self) -> bool:
        return self._said is not None

    @property
    def pushes(self) -> bool:
        said = bytes(self._said or b"")
        return b"list for-push" in said or b"git-receive-pack" in said

    def run(
        self, command: list[str], environment: dict[str, str], name: tuple[str, str] | None = None
    ) -> int:
        """Run a program to its end; returns its exit code.

        `name`: in what it prints, the second stands for the first.
        """
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        errors = threading.Thread(target=_print, args=(process.stderr.fileno(), name))
        errors.start()
        with self._lock:
            self._stdin = process.stdin.fileno()
            self._write(bytes(self._said or b""))
            if self._ended:
                self._close()
        skipped = self._answered  # it answers what was answered before in the same words
        while data := os.read(process.stdout.fileno(), READ_SIZE):
            data, skipped = data[skipped:], max(0, skipped - len(data))
            self._answered += len(data)
            while data:
                data = data[os.write(1, data) :]
        code = process.wait()
        errors.join()
        with self._lock:
            self._close()
        process.stdin = None  # it is closed
        return code if code >= 0 else 128 - code

    def _listen(self) -> None:
        """Pass on what Git says, and keep the beginning of it."""
        while data := os.read(0, READ_SIZE):
            with self._lock:
                if self._said is not None:
                    self._said += data
                    if len(self._said) > RECORD_LIMIT:
                        self._said = None
                self._write(data)
        with self._lock:
            self._ended = True
            self._close()

    def _write(self, data: bytes) -> None:
        while data and self._stdin is not None:
            try:
                data = data[os.write(self._stdin, data) :]
            except BrokenPipeError:
                return

    def _close(self) -> None:
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None


def _print(source: int, name: tuple[str, str] | None) -> None:
    """Pass on what a program prints for people, but not that ours had it give up."""
    rest = b""
    while data := os.read(source, READ_SIZE):
        *lines, rest = (rest + data).replace(b"\r", b"\r\0").replace(b"\n", b"\n\0").split(b"\0")
        for line in lines:
            _show(line, name)
    _show(rest, name)


def _show(line: bytes, name: tuple[str, str] | None) -> None:
    if name is not None:
        line = line.replace(name[0].encode(), name[1].encode())
    if GAVE_UP not in line:
        while line:
            line = line[os.write(2, line) :]


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    sys.stdout.flush()
    os._exit(code)  # the thread that listens to Git has nothing to finish
