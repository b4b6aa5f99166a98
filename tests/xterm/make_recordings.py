"""Make the recordings that the replay tests use: real programs on a real pseudo-terminal.

    python tests/xterm/make_recordings.py [name ...]

Needs vim, less, htop and top, and root: htop and top run in a PID namespace of their own, so that
no recording shows the machine. Each is what the program printed, gzipped, in `recordings/`.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import pty
import select
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

HERE = Path(__file__).parent
COLS, ROWS = 80, 24
QUIET = 0.4  # seconds without output after which the next keys are typed
LONGEST = 3.0  # seconds for a program that is never quiet

PROGRESS = r"""
import sys, time
for step in range(0, 101):
    bar = "█" * (step // 2)
    sys.stdout.write(f"\r\033[32m{bar:<50}\033[0m {step:3d}%\033[K")
    if step % 20 == 0: sys.stdout.write(f"\r\n\033[1mstage {step // 20}\033[0m done\r\n")
    sys.stdout.flush()
"""
WORDS = r"""
import random
random.seed(7)
words = "日本語 한국어 中文字 naïve Ångström 👩\u200d💻 🇩🇪 🐍 e\u0301 ﷺ Ωμέγα עברית".split()
for number in range(160):
    color = random.randrange(256)
    print(f"\033[38;5;{color}m{number:4d}\033[0m", *random.choices(words, k=9))
"""
COLOURS = r"""
for number in range(120):
    print("\033]0;line %d\007" % number, end="")
    for style in (1, 2, 3, 4, 7, 9):
        fore, back = number % 8, (number + style) % 8
        print("\033[%d;3%d;4%dm%d" % (style, fore, back, style), end="\033[m ")
    print("\033[48;2;%d;80;120m\033[38;2;250;%d;9mtrue\033[49m colour\033[39m" % (number, number))
"""
LINES = "".join(
    f"line {n}: the quick brown fox jumps over the lazy dog {n * n}\n" for n in range(400)
)

ALONE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]
JOBS = "sleep 1001 & sleep 1002 & (while :; do sleep 0.2; done) & exec "

# Each line of keys is typed when the program is quiet; an empty one waits.
VIM = """:set number ruler hlsearch\r
/fox\r
\x06
\x06
nnn
\x02
25Gdd
p
ochanged by hand\x1b
:split\r
\x17j
G
50%
:q\r
u
gg
\x06\x06
:%s/quick/slow/g\r
\x04\x04
\x15
:echo 'over'\r"""
LESS = " \n \n/lazy\r\nn\nn\nG\nb\nb\ng\njjjjj\nk\n&3[0-9]5\r\n&\r\n50p\n=\n "

SESSIONS: dict[str, tuple[list[str], str]] = {
    "vim": (["vim", "-u", "NONE", "-i", "NONE", "-N", "-n", "lines.txt"], VIM),
    "less": (["less", "-S", "lines.txt"], LESS),
    "htop": ([*ALONE, JOBS + "htop --delay=3"], "\n\x1b[B\nt\nt\n\x1bOQ\n\x1b\n\nP\nM\n\n"),
    "top": ([*ALONE, JOBS + "top -d 0.5"], "\nc\n\nx\ny\nz\n\n1\n\nm\n\n"),
    "progress": (["python3", "-c", PROGRESS], ""),
    "unicode": (["python3", "-c", WORDS], ""),
    "colours": (["python3", "-c", COLOURS], ""),
}


def record(command: list[str], keys: str, folder: Path) -> bytes:
    """What the program prints while the keys are typed one after the other; then it is ended."""
    child, master = pty.fork()
    if child == 0:
        os.chdir(folder)
        environment = {
            "TERM": "xterm-256color", "LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(folder),
        }  # fmt: skip
        os.execvpe(command[0], command, environment)  # noqa: S606
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLS, 0, 0))
    output = b""
    for press in ["", *keys.split("\n")] if keys else [""]:
        os.write(master, press.encode())
        until = time.monotonic() + LONGEST
        while (left := until - time.monotonic()) > 0:
            if not select.select([master], [], [], min(left, QUIET))[0]:
                break
            try:
                data = os.read(master, 65536)
            except OSError:
                data = b""
            if not data:
                os.close(master)
                os.waitpid(child, 0)
                return output
            output += data
    os.close(master)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return output


def main(names: list[str]) -> None:
    folder = HERE / "recordings"
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "lines.txt").write_text(LINES)
        for name in names or SESSIONS:
            output = record(*SESSIONS[name], Path(work))
            with gzip.GzipFile(folder / f"{name}.gz", "wb", mtime=0) as file:
                file.write(output)
            kept = (folder / f"{name}.gz").stat().st_size
            print(f"{name}: {len(output)} bytes, of which {kept} kept")


if __name__ == "__main__":
    main(sys.argv[1:])
