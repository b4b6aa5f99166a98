"""The reference implementation (npm `@devcontainers/cli`), as a process that has nothing.

It reads a configuration, fetches its features and merges both with what the image says of itself.
It asks an engine for the image only; that question is answered from what we give it, so it needs no
engine. Its environment is empty (`guard.cjs`). The kernel bounds its time and the size of each
file; its memory and all its files are watched, as RLIMIT_AS is not for Node.js, which reserves far
more addresses than it uses.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shlex
import shutil
import signal
import sys
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import structlog

from cloudide.errors import InvalidInput, TooLarge, Unavailable

log = structlog.get_logger()

HERE = Path(__file__).parent / "cli"
PROGRAM = HERE / "node_modules" / "@devcontainers" / "cli" / "devcontainer.js"
SECONDS = 60.0
CPU_SECONDS = 60
MEMORY_MIB = 512  # of what JavaScript has
RESIDENT_LIMIT = 1024**3  # bytes of the process
FILE_LIMIT = 64 * 1024**2  # bytes of one file
SCRATCH_LIMIT = 256 * 1024**2  # bytes on the disk of what it writes
ENTRIES_LIMIT = 20_000  # files and folders that it makes
WATCH_SECONDS = 0.1
OUTPUT_LIMIT = 8 * 1024 * 1024  # bytes
Ended = tuple[int, bytes, bytes]  # exit status, output and messages
TOLD = ("configuration", "mergedConfiguration")
# What the kernel, or Node.js without memory, ends it with.
_ENDED = {
    -signal.SIGXCPU: f"{CPU_SECONDS} s of a CPU",
    -signal.SIGABRT: f"{MEMORY_MIB} MiB of memory",
}


class Read(msgspec.Struct, frozen=True):
    """What it says. `configuration`: as written, with variables; `merged`: with what features and
    the image say; `features`: in the order of their installation, each with `folder`."""

    configuration: dict[str, Any]
    merged: dict[str, Any]
    features: list[Feature]
    folder: str  # of the workspace, in the container


class Feature(msgspec.Struct, frozen=True):
    """`id`: as the configuration names it. `about`: its `devcontainer-feature.json`, with `value`,
    the options that were given. `folder`: its files."""

    id: str
    about: dict[str, Any]
    folder: Path


async def read(
    scratch: Path,
    project: Path,
    path: str,
    *,
    images: Mapping[str, Mapping[str, Any]],
    label: str,
    registries: Sequence[str],
    ca_bundle: str = "",
) -> Read:
    """Read the configuration at `path` of a project.

    Args:
        scratch: a folder of its own, which it may fill.
        images: what an engine says of each image that it may ask for.
        label: names the container, for `${devcontainerId}`.
        registries: hosts that features may come from; `*.example.org` for those below one.

    Raises:
        InvalidInput: it cannot be used; the sentence says why.
        TooLarge: reading it needs more memory, time of a CPU or disk than there is for it.
        Unavailable: the reader is not there, or does not answer.
    """
    node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
    if node is None or not PROGRAM.is_file():
        raise Unavailable(
            "devcontainer.json cannot be read: Node.js or the package @devcontainers/cli is "
            "missing on the server. Install them with scripts/bootstrap.py."
        )
    engine = await asyncio.to_thread(_engine, scratch, images)
    command = [
        *(node, f"--max-old-space-size={MEMORY_MIB}", "--require", str(HERE / "guard.cjs")),
        *(str(PROGRAM), "read-configuration"),
        *("--workspace-folder", str(project), "--config", str(project / path)),
        *("--mount-workspace-git-root", "false", "--id-label", f"cloudide={label}"),
        *("--docker-path", str(engine), "--user-data-folder", str(scratch / "data")),
        *("--include-merged-configuration", "--include-features-configuration"),
        *("--oci-auth-hardening", "--log-format", "json"),
    ]
    environment = {"CLOUDIDE_SCRATCH": str(scratch), "CLOUDIDE_REGISTRIES": ",".join(registries)}
    if ca_bundle:
        environment["NODE_EXTRA_CA_CERTS"] = ca_bundle
    code, output, said = await _run(command, environment, scratch)
    answer = _answer(output)
    if code or answer is None:
        raise InvalidInput(_explained(path, said, scratch, project))
    folder = str((answer.get("workspace") or {}).get("workspaceFolder") or "")
    # What is called the local folder is one of ours, which nobody is to see or to depend on.
    told = {key: _replaced(answer[key], str(project), folder) for key in TOLD}
    for each in told.values():
        each.pop("configFilePath", None)
    return Read(
        configuration=told["configuration"],
        merged=told["mergedConfiguration"],
        features=[
            Feature(
                # The one that a feature depends on is named as that feature names it.
                id=str(each["sourceInformation"].get("userFeatureId") or feature["id"]),
                about={k: v for k, v in feature.items() if k not in ("cachePath", "included")},
                folder=_beneath(scratch, str(feature.get("cachePath") or "")),
            )
            for each in (answer.get("featuresConfiguration") or {}).get("featureSets", [])
            for feature in each["features"]
        ],
        folder=folder,
    )


def _replaced(value: Any, what: str, by: str) -> Any:
    """A value with a text in its texts replaced."""
    if isinstance(value, str):
        return value.replace(what, by)
    if isinstance(value, dict):
        return {key: _replaced(each, what, by) for key, each in value.items()}
    if isinstance(value, list):
        return [_replaced(each, what, by) for each in value]
    return value


def _beneath(scratch: Path, folder: str) -> Path:
    path = Path(folder).resolve()
    if not path.is_relative_to(scratch.resolve()):
        raise InvalidInput("A feature's files lie where they may not.")
    return path


def _engine(scratch: Path, images: Mapping[str, Mapping[str, Any]]) -> Path:
    """A program that answers as the engine's command would: no containers, and these images."""
    cases: list[str] = []
    for number, (name, found) in enumerate(images.items()):
        answer = scratch / f"image-{number}.json"
        answer.write_bytes(msgspec.json.encode([found]))
        cases.append(f"{shlex.quote(name)}) exec cat {shlex.quote(str(answer))} ;;")
    script = scratch / "engine"
    script.write_text(
        "#!/bin/sh\n"
        "# Answers `inspect --type image NAME`, and `ps` with nothing.\n"
        'case "$1" in ps) exit 0 ;; inspect) ;; *) exit 1 ;; esac\n'
        "for name; do :; done\n"
        'case "$name" in\n' + "\n".join(cases) + "\nesac\nexit 1\n"
    )
    script.chmod(0o700)
    return script


async def _run(command: Sequence[str], environment: Mapping[str, str], scratch: Path) -> Ended:
    """Run it to its end.

    Raises:
        Unavailable: it took too long. TooLarge: it used, or said, too much.
    """
    had = await asyncio.to_thread(_used, scratch)
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        cwd=scratch,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    with suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
        # At the first it gets SIGXCPU, which says why; at the second it is killed.
        cpu = (CPU_SECONDS, CPU_SECONDS + 5)
        resource.prlimit(process.pid, resource.RLIMIT_CPU, cpu)
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
    try:
        async with asyncio.timeout(SECONDS):
            code, output, said = await _watched(
                asyncio.gather(process.wait(), _bounded(process.stdout), _bounded(process.stderr)),
                _watch(process.pid, scratch, had),
            )
        if code and b"EFBIG" in said:  # Node.js takes the signal SIGXFSZ for an error of a file
            raise _too_much(f"{FILE_LIMIT // 1024**2} MiB in one file")
        if code in _ENDED:
            raise _too_much(_ENDED[code])
        return code, output, said
    except TimeoutError as error:
        raise Unavailable(
            f"devcontainer.json was not read within {SECONDS:.0f} s; its features may be slow to "
            "fetch. Try again."
        ) from error
    finally:
        with suppress(ProcessLookupError):  # also what it may have started
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _watched(work: Awaitable[Ended], watch: Awaitable[None]) -> Ended:
    """What comes of the work, unless the watch raises before."""
    working, watching = asyncio.ensure_future(work), asyncio.ensure_future(watch)
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            await watching
        return await working
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _watch(pid: int, scratch: Path, had: tuple[int, int]) -> None:
    """Until a process has ended.

    Raises:
        TooLarge: it uses too much memory, or its folder grows too large.
    """
    while resident := await asyncio.to_thread(_resident, pid):
        if resident > RESIDENT_LIMIT:
            raise _too_much(f"{RESIDENT_LIMIT // 1024**2} MiB of memory")
        size, entries = await asyncio.to_thread(_used, scratch)
        if size - had[0] > SCRATCH_LIMIT:
            raise _too_much(f"{SCRATCH_LIMIT // 1024**2} MiB of files")
        if entries - had[1] > ENTRIES_LIMIT:
            raise _too_much(f"{ENTRIES_LIMIT:,} files and folders")
        await asyncio.sleep(WATCH_SECONDS)


def _resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 when it has ended.
    https://man7.org/linux/man-pages/man5/proc_pid_statm.5.html"""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(pages) * resource.getpagesize()


def _used(folder: Path) -> tuple[int, int]:
    """Bytes on the disk of what is in a folder, and how many entries it has."""
    size = entries = 0
    for where, folders, files in os.walk(folder):  # follows no links, and passes over what vanishes
        entries += len(folders) + len(files)
        for name in files:
            with suppress(FileNotFoundError, NotADirectoryError):
                size += os.lstat(os.path.join(where, name)).st_blocks * 512
    return size, entries


def _too_much(what: str) -> TooLarge:
    return TooLarge(
        f"Reading devcontainer.json with its features takes more than {what}, which is the limit. "
        "Name fewer or smaller features."
    )


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    content = bytearray()
    while chunk := await stream.read(64 * 1024):
        content += chunk
        if len(content) > OUTPUT_LIMIT:
            raise TooLarge("What came of devcontainer.json is too large.")
    return bytes(content)


def _answer(output: bytes) -> dict[str, Any] | None:
    try:
        # The standard parser also takes a lone half of a character, as a hostile file may have.
        answer = json.loads(output)
    except ValueError:
        return None
    is_whole = isinstance(answer, dict) and isinstance(answer.get("mergedConfiguration"), dict)
    return answer if is_whole and isinstance(answer.get("configuration"), dict) else None


def _explained(path: str, said: bytes, scratch: Path, project: Path) -> str:
    """Why it could not be read, from what the reader said, without places on the server."""
    texts = [text for line in said.splitlines() if (text := _text(line))]
    feature = next(
        (text.partition("> input: ")[2] for text in reversed(texts) if text.startswith("> input")),
        "",
    ) or next(
        (
            text.partition("Processing feature: ")[2]
            for text in reversed(texts)
            if "Processing feature: " in text
        ),
        "",
    )
    errors = [text for text in texts if "rror: " in text.splitlines()[0]]
    reason = errors[-1].splitlines()[0] if errors else "the reader did not say why"
    log.info("devcontainer.not_read", reason=reason)
    for where in (f"{project}/", f"{scratch}/", str(scratch)):
        reason = reason.replace(where, "")
    reason = reason.removeprefix("Error: ").removeprefix("ERR: ")[:500].rstrip(".")
    if feature:
        if "CLOUDIDE_REFUSED" in reason:
            host = reason.rpartition(" ")[2]
            return (
                f"{path}: the feature {feature} comes from {host}, which is not among the "
                "registries that this server fetches features from (setting feature_registries)."
            )
        return (
            f"{path}: the feature {feature} cannot be fetched: {reason}. Check its name, and "
            "whether the server reaches its registry; a feature may also lie in .devcontainer."
        )
    return f"{path}: {reason}."


def _text(line: bytes) -> str:
    try:
        message = json.loads(line)
    except ValueError:
        return ""
    text = message.get("text") if isinstance(message, dict) else None
    return text if isinstance(text, str) else ""
