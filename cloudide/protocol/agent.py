"""The link between the server and the agent of one workspace: messages and streams.

The agent dials the server over a Unix socket that lies in a directory mounted read-only into its
container, sends its token (a file in the same directory) as `Authorization: Bearer`, and keeps one
*control* websocket open at `/agent`. Frames on it are msgpack maps, tagged by `type`:

    agent  → server   hello                       once, first
    server → agent    call {id, request}          one of the requests below
    agent  → server   reply {id, result | error}  exactly one for each call, in any order
    agent  → server   files_changed, terminal_changed, terminal_removed    whenever they happen
    agent  → server   ports_changed               all ports, whenever one opens or closes
    agent  → server   asked, withdrawn            what a program asks (`questions`)

`result` is the request's own result type (`RESULTS`), so that a reply is decoded once, by
whoever asked.

Bulk bytes never travel on the control socket. A request that needs them names a `stream`, an
unguessable id minted by the server; the agent then dials a second websocket at `/streams/<stream>`
on the same Unix socket, with the same token, and the kernel does the flow control. On a stream
binary frames are bytes, text frames are JSON control messages (`StreamMessage`), tagged by `type`:

    execute    agent → server: output bytes, each frame prefixed by 0x01 (stdout) or 0x02 (stderr),
               then `exit`; server → agent: stdin bytes, then `eof`; `signal` whenever it likes
    language   agent → server: `server_log`, `server_memory`, then `exit`; its messages have two
               sockets of their own
    task.run   agent → server: output bytes, `task_ready` once it is, then `exit`;
               server → agent: `stop`
    download   agent → server: bytes, then `eof`, or `failed`
    upload     server → agent: bytes, then `eof`; agent → server: `done` or `failed`
    outlet.accept   bytes, then `eof`, both ways

A tunnel is no websocket, so that its bytes need no frames: the agent dials the socket beside,
`tunnel.sock`, sends one line, `<token> <stream>` (`greeting`), and from then on there is nothing
but the bytes of the connection, both ways. Shutting down one direction (shutdown(2)) ends it, as in
TCP. The agent closes the socket when both directions have ended; closing it before says that the
connection was cut off.

A terminal that is attached has such a connection too, on which are `replay`, the past, `ready`,
live bytes, …, `exit`, framed as `output` says; then it closes. For each `ReplayTerminal` come
`replay`, the past and `ready` once more, among live bytes, and for each `ResizeTerminal` `resized`.

A language server's stdin and stdout are such sockets themselves, one for each: the agent dials and
greets, the process inherits them, and no byte goes through the agent. They are two, as the pipes
are that editors on a desktop give (libuv's are socket pairs): a program makes one of them blocking
and the other not, which is a state of the socket and not of the descriptor.

Paths are relative to the workspace root, `/`-separated, without `.` and `..`; the root itself is
"". They are text; a file name that is not UTF-8 is carried with replacement characters and listed
as `other`, not openable. The agent resolves them beneath the root (openat2 RESOLVE_BENEATH): a path
that climbs out, through a link or otherwise, is refused with `outside`.

The server treats everything an agent sends as hostile input: sizes are bounded by the socket,
types by msgspec, and a reply that does not decode closes the link.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from cloudide.protocol.outlets import AcceptOutlet, CloseOutlet, OpenOutlet, Outlet
from cloudide.protocol.questions import AnswerAsked, Asked, KnowTypist, Withdrawn

PROTOCOL_VERSION = 6
HASH_NAME = "sha256"  # every content hash on the link is its hexadecimal digest

SOCKET_NAME = "agent.sock"  # these lie in the directory that the container sees
TUNNEL_SOCKET_NAME = "tunnel.sock"
TOKEN_NAME = "token"  # noqa: S105 - a file's name
CONTROL_PATH = "/agent"
STREAM_PATH = "/streams/"

CONTENT_LIMIT = 16 * 1024 * 1024  # bytes of one file, or of all its swaps, in a control frame
CONTROL_FRAME_LIMIT = 2 * CONTENT_LIMIT + 1024 * 1024  # a file, what was displaced, and the rest
STREAM_FRAME_LIMIT = 1024 * 1024
CHUNK = 256 * 1024  # the usual size of a bulk frame
GREETING_LIMIT = 256  # bytes of the line that a tunnel begins with
CHANGES_LIMIT = 1000  # more changes than this in one go are told as an overflow
PORTS_LIMIT = 256  # listening ports that are told of
EXITED_TERMINALS = 20  # terminals whose process has ended, kept for a look at their last output

STDOUT = 1  # prefix bytes of `execute` frames
STDERR = 2

EntryType = Literal["file", "directory", "symlink", "other"]
ChangeKind = Literal["added", "modified", "deleted"]
FailureCode = Literal[
    "not_found",
    "exists",
    "outside",
    "not_a_file",
    "not_a_directory",
    "not_empty",
    "too_large",
    "denied",
    "no_space",
    "conflict",
    "invalid",
    "gone",
    "internal",
]


class Message(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    """Base of everything that carries a `type` on the wire."""


# ── values ──────────────────────────────────────────────────────────────────────────────────────


class Stat(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `stat` says of one path; enough to notice that a file changed without reading it."""

    type: EntryType
    size: int
    mtime_ns: int
    inode: int
    mode: int


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a directory listing. `mtime` is in seconds since the epoch."""

    path: str
    type: EntryType
    size: int
    mtime: float


class Change(msgspec.Struct, frozen=True, omit_defaults=True):
    """`hash`: of a file's content, if the server has written it lately. It knows its own writes by
    that without reading the file again."""

    path: str
    kind: ChangeKind
    hash: str = ""


class Exit(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a process ended: exactly one of `code` and `signal` (its number) is set."""

    code: int | None = None
    signal: int | None = None


class TerminalInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """`cwd`: where its program was started, relative to the root. `directory`: the absolute path
    where the foreground program is (OSC 7, or its working directory). `foreground`: its command
    line, "" while that is the terminal's own program. `bells` counts. `record`: see `KeepRecord`.
    """

    id: str
    cols: int
    rows: int
    command: list[str]
    cwd: str
    pid: int
    title: str = ""
    exit: Exit | None = None
    directory: str = ""
    foreground: str = ""
    bells: int = 0
    record: str = ""


class Port(msgspec.Struct, frozen=True, omit_defaults=True):
    """A TCP port that a program of the workspace listens on, within reach of a tunnel.

    `any`: on all addresses, not on loopback alone. `pid` and `command` (its arguments, joined) are
    0 and "" where the program belongs to another user.
    """

    port: int
    any: bool = False
    pid: int = 0
    command: str = ""


class Usage(msgspec.Struct, frozen=True):
    """What a program cost.

    `cpu_seconds`: user and system time of it and of those descendants that were waited for
    (wait4(2)). `peak_memory`: bytes; the most resident memory that all processes of its session
    had when they were looked at, which is several times a second.
    """

    cpu_seconds: float
    peak_memory: int


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request failed. `message` may be shown to the person who asked."""

    code: FailureCode
    message: str


class Done(msgspec.Struct, frozen=True):
    """The result of a request that has nothing to say but that it is done."""


# ── requests and their results ──────────────────────────────────────────────────────────────────


class ReadFile(Message, frozen=True, tag="read"):
    """Read a whole file of at most `limit` bytes; larger ones fail with `too_large`.

    `limit` is at most `CONTENT_LIMIT`.

    `known`: a content hash the server has; when the file still has it, `content` is left out.
    `swaps`: also return what interrupted writes left behind beside this file (`Swap`).
    """

    path: str
    limit: int
    known: str = ""
    swaps: bool = False


class Swap(msgspec.Struct, frozen=True):
    """Content that a write displaced and that nobody has yet agreed may go (see `WriteFile`)."""

    name: str
    content: bytes


class FileContent(msgspec.Struct, frozen=True, omit_defaults=True):
    hash: str
    stat: Stat
    content: bytes | None = None
    swaps: list[Swap] = []


class WriteFile(Message, frozen=True, tag="write"):
    """Replace a file by compare-and-swap, keeping its mode.

    The content is written to `.<name>.<random>.part`, synced, renamed to `.<name>.<random>.swap`
    and exchanged with the file (`renameat2(RENAME_EXCHANGE)`); what was displaced is hashed. If
    that is `expected`, the swap file is unlinked. If not, somebody else wrote in between:
    `Written.displaced` carries it, and the swap file stays until `ReleaseSwap`.

    `expected` is a hash, "" for "must not exist" (created with RENAME_NOREPLACE; fails with
    `exists`), or None to replace whatever is there (nothing is reported as displaced). A file that
    is gone although a hash was expected fails with `not_found`: nothing is written.
    Displaced content over `CONTENT_LIMIT` is exchanged back and the write fails with `too_large`.
    Hard-linked, foreign-owned and mount-point files, files behind a symbolic link, and all files
    where the file system cannot exchange are re-checked and then written in place; a mismatch
    there fails with `conflict` and writes nothing.
    `parents` creates missing directories. `mode` is for a new file (default 0o644).
    """

    path: str
    content: bytes
    expected: str | None = None
    parents: bool = False
    mode: int = 0o644


class Written(msgspec.Struct, frozen=True, omit_defaults=True):
    hash: str
    stat: Stat
    created: bool = False
    displaced: Swap | None = None


class ReleaseSwap(Message, frozen=True, tag="release"):
    """Unlink a swap file: what it held is merged and durable."""

    path: str
    name: str


class ListTree(Message, frozen=True, tag="list"):
    """List a directory down to `depth` levels (1: its direct entries), at most `limit` entries.

    Swap and part files are left out. Entries come sorted, directories before files.
    """

    path: str = ""
    depth: int = 1
    limit: int = 50_000


class Tree(msgspec.Struct, frozen=True, omit_defaults=True):
    entries: list[Entry]
    truncated: bool = False


class StatPaths(Message, frozen=True, tag="stat"):
    paths: list[str]


class Stats(msgspec.Struct, frozen=True):
    """One item for each path asked, in order; None where nothing is."""

    stats: list[Stat | None]


class MakeDirectory(Message, frozen=True, tag="mkdir"):
    """Create a directory and its missing parents. `exists` if something else has its name."""

    path: str


class Move(Message, frozen=True, tag="move"):
    """Rename without replacing (RENAME_NOREPLACE): `exists` if the target is there."""

    source: str
    target: str


class Delete(Message, frozen=True, tag="delete"):
    """Delete a file or, when `recursive`, a directory with all in it. Links are not followed."""

    path: str
    recursive: bool = False


class CreateTerminal(Message, frozen=True, tag="terminal.create"):
    """Start the user's own login shell (no `command`) or a command on a new pseudo-terminal.

    `cwd` is relative to the workspace root. `id` is minted by the server. `scrollback`: bytes of
    output that are kept. `record`: see `KeepRecord`.
    """

    id: str
    cols: int
    rows: int
    command: list[str] = []
    cwd: str = ""
    env: dict[str, str] = {}
    scrollback: int = 1024 * 1024
    record: str = ""
    files: dict[str, str] = {}  # as in `RunTask`


class ListTerminals(Message, frozen=True, tag="terminal.list"):
    pass


class Terminals(msgspec.Struct, frozen=True):
    terminals: list[TerminalInfo]


class AttachTerminal(Message, frozen=True, tag="terminal.attach"):
    id: str
    stream: str


class ReplayTerminal(Message, frozen=True, tag="terminal.replay"):
    """Send `replay`, the past and `ready` again on the terminal's connection."""

    id: str


class KeepRecord(Message, frozen=True, tag="terminal.record"):
    """Keep what the server wants to know of a terminal after it has restarted; it is sealed."""

    id: str
    record: str


class ResizeTerminal(Message, frozen=True, tag="terminal.resize"):
    id: str
    cols: int
    rows: int


class CloseTerminal(Message, frozen=True, tag="terminal.close"):
    """HUP, CONT, TERM, then KILL to all that runs on the terminal; forget it."""

    id: str


class Execute(Message, frozen=True, tag="execute"):
    """Run a program without a terminal. Its output and exit come on the stream.

    When the stream closes before the program has ended, its process group is killed.
    """

    stream: str
    argv: list[str]
    cwd: str = ""
    env: dict[str, str] = {}
    files: dict[str, str] = {}  # as in `RunTask`


class RunTask(Message, frozen=True, tag="task.run"):
    """Run a task: a program, or a line for the shell, whose output goes to a pseudo-terminal.

    It has a terminal so that it prints as for a person, line by line and in colour, and reads
    nothing. It is ready when a line it prints matches `ready_pattern` (a regular expression), or
    when `ready_port` listens. On `stop`, when the stream closes, and for what is left of it when it
    has ended: HUP, TERM, then KILL to its session.
    """

    stream: str
    command: list[str] | str
    cwd: str = ""
    env: dict[str, str] = {}
    cols: int = 120
    rows: int = 30
    ready_pattern: str = ""
    ready_port: int = 0
    files: dict[str, str] = {}  # secrets on a tmpfs until it has ended; `NAME_FILE` leads there


class RunLanguageServer(Message, frozen=True, tag="language"):
    """Run a language server in the workspace's root. `stdin` and `stdout` are the ids of two
    tunnels that it has as these; its exit comes on the stream.

    stderr is always drained; the end of it is told. The session is killed when its processes have
    more than `memory_limit` bytes of memory, and when the stream closes.
    """

    stream: str
    stdin: str
    stdout: str
    argv: list[str]
    env: dict[str, str] = {}
    memory_limit: int = 2 * 1024**3


class HashInputs(Message, frozen=True, tag="task.inputs"):
    """Hash the names and contents of the files that match any of `patterns`.

    Patterns are paths from the root with `*`, `?`, `[…]` and `**`; a folder stands for all in it.
    Links are hashed as links. `.git` and `node_modules` are looked into only when named.
    """

    patterns: list[str]


class InputsHash(msgspec.Struct, frozen=True):
    hash: str
    files: int


class FindPrograms(Message, frozen=True, tag="programs"):
    """Look for programs by name: in the project's own environments (`.venv/bin`, `venv/bin`,
    `node_modules/.bin`), then on the PATH of a login shell."""

    names: list[str]


class Programs(msgspec.Struct, frozen=True):
    """`found`: the absolute path of each program that is there. `path`: the PATH looked into, for
    whoever starts one of them."""

    found: dict[str, str]
    path: str


class ListProcesses(Message, frozen=True, tag="processes"):
    """What runs in the workspace, the agent and its helpers left out; the `limit` largest."""

    limit: int


class Process(msgspec.Struct, frozen=True):
    """`cpu`: seconds of CPU it has used so far. `memory`: resident bytes. `age`: seconds since it
    began."""

    pid: int
    parent: int
    cpu: float
    memory: int
    age: float
    threads: int
    command: str


class Processes(msgspec.Struct, frozen=True):
    """`disk_free` and `disk_total`: bytes of the file system that the root is on."""

    processes: list[Process]
    total: int
    disk_free: int
    disk_total: int


class Download(Message, frozen=True, tag="download"):
    """Stream `length` bytes (None: to the end) of a file from `offset`.

    The reply carries the file's stat and no hash; as many bytes follow as that size allows, or
    `failed` with `conflict` when the file shrank meanwhile.
    """

    stream: str
    path: str
    offset: int = 0
    length: int | None = None


class Upload(Message, frozen=True, tag="upload"):
    """Stream a whole file into place; same meaning of `expected` as `WriteFile`, except that a
    mismatch fails with `conflict` and leaves the file as it was. The reply comes when the stream is
    open; the outcome is the stream's last message.
    """

    stream: str
    path: str
    limit: int
    expected: str | None = None
    parents: bool = False


class Unpack(Message, frozen=True, tag="unpack"):
    """Stream an archive (`.tar.gz`, `.tar`, `.zip`; its first bytes tell) and unpack it at `path`.

    All of it is checked before anything is written: entries that climb out (`..`, absolute), links
    that point outside, devices, more than `max_entries` or `max_bytes` unpacked. A single top
    directory around everything is stripped when `strip`. Nothing is replaced: when a top-level name
    of the archive is there already, it fails with `exists` and leaves everything as it was.
    """

    stream: str
    path: str
    limit: int
    max_entries: int
    max_bytes: int
    strip: bool = True


class Tunnel(Message, frozen=True, tag="tunnel"):
    """Connect to a TCP port of the container's own loopback address (127.0.0.1, else ::1), and to
    nothing else. Where nothing listens it fails with `not_found`."""

    stream: str
    port: int


def greeting(token: str, stream: str) -> bytes:
    """The line that a tunnel begins with."""
    return f"{token} {stream}\n".encode()


RESULTS: dict[type[msgspec.Struct], type[msgspec.Struct]] = {
    ReadFile: FileContent,
    WriteFile: Written,
    ReleaseSwap: Done,
    ListTree: Tree,
    StatPaths: Stats,
    MakeDirectory: Done,
    Move: Done,
    Delete: Done,
    CreateTerminal: TerminalInfo,
    ListTerminals: Terminals,
    AttachTerminal: Done,
    ReplayTerminal: Done,
    KeepRecord: Done,
    ResizeTerminal: Done,
    CloseTerminal: Done,
    Execute: Done,
    RunTask: Done,
    RunLanguageServer: Done,
    HashInputs: InputsHash,
    FindPrograms: Programs,
    ListProcesses: Processes,
    Download: FileContent,  # the stat and an empty hash; the bytes come on the stream
    Upload: Done,
    Unpack: Done,
    Tunnel: Done,
    OpenOutlet: Outlet,
    AcceptOutlet: Done,
    CloseOutlet: Done,
    AnswerAsked: Done,
    KnowTypist: Done,
}

Request = (
    ReadFile
    | WriteFile
    | ReleaseSwap
    | ListTree
    | StatPaths
    | MakeDirectory
    | Move
    | Delete
    | CreateTerminal
    | ListTerminals
    | AttachTerminal
    | ReplayTerminal
    | KeepRecord
    | ResizeTerminal
    | CloseTerminal
    | Execute
    | RunTask
    | RunLanguageServer
    | HashInputs
    | FindPrograms
    | ListProcesses
    | Download
    | Upload
    | Unpack
    | Tunnel
    | OpenOutlet
    | AcceptOutlet
    | CloseOutlet
    | AnswerAsked
    | KnowTypist
)


# ── control messages ────────────────────────────────────────────────────────────────────────────


class Hello(Message, frozen=True, tag="hello"):
    """The agent's first message. `boot` is random for each agent process: a new one means that all
    terminals of the former are gone. `root` is the workspace's folder as its programs name it."""

    protocol: int
    boot: str
    user: str
    uid: int
    terminals: list[TerminalInfo] = []
    ports: list[Port] = []
    root: str = "/workspace"


class Call(Message, frozen=True, tag="call"):
    id: int
    request: Request


class Reply(Message, frozen=True, tag="reply"):
    """Exactly one of `result` (encoded as the request's result type) and `error` is set."""

    id: int
    result: msgspec.Raw = msgspec.Raw()  # pyright: ignore[reportUnknownMemberType]
    error: Failure | None = None


class FilesChanged(Message, frozen=True, tag="files_changed"):
    """Coalesced changes below the root. `overflow`: events were lost, look at everything again."""

    changes: list[Change]
    overflow: bool = False


class TerminalChanged(Message, frozen=True, tag="terminal_changed"):
    terminal: TerminalInfo


class TerminalRemoved(Message, frozen=True, tag="terminal_removed"):
    id: str


class PortsChanged(Message, frozen=True, tag="ports_changed"):
    """All of them, sorted, at most `PORTS_LIMIT`; an empty list when the last one closed."""

    ports: list[Port]


AgentMessage = (
    Hello
    | Reply
    | FilesChanged
    | TerminalChanged
    | TerminalRemoved
    | PortsChanged
    | Asked
    | Withdrawn
)


# ── stream control messages (JSON text frames) ──────────────────────────────────────────────────


class Replay(Message, frozen=True, tag="replay"):
    """What follows until `ready` shows a terminal that was just reset what the others see.

    `lost` bytes before it are no longer kept.
    """

    cols: int
    rows: int
    lost: int = 0


class Ready(Message, frozen=True, tag="ready"):
    pass


class Resized(Message, frozen=True, tag="resized"):
    """What follows was printed for a terminal of this size."""

    cols: int
    rows: int


class Eof(Message, frozen=True, tag="eof"):
    """No more bytes come from this side: the half-close that websockets lack."""


class Signal(Message, frozen=True, tag="signal"):
    """Send a signal, by its number, to the program of an `execute` stream and its process group."""

    number: int


class Exited(Message, frozen=True, tag="exit"):
    """`usage` is told of tasks."""

    exit: Exit
    usage: Usage | None = None


class TaskReady(Message, frozen=True, tag="task_ready"):
    """`port`: where it serves, if that is known; else 0."""

    port: int = 0


class ServerLog(Message, frozen=True, tag="server_log"):
    """What a language server printed on stderr; when it was more, the end of that."""

    text: str


class ServerMemory(Message, frozen=True, tag="server_memory"):
    """Resident memory of all processes of a language server, in bytes. `exceeded`: they are
    killed because of it."""

    bytes: int
    exceeded: bool = False


class Stop(Message, frozen=True, tag="stop"):
    """End the program, politely first; its last output and its exit still come."""


class UploadDone(Message, frozen=True, tag="done"):
    """`entries` and `bytes` count what was written; `hash` is set for a single file."""

    hash: str = ""
    entries: int = 1
    bytes: int = 0


class Failed(Message, frozen=True, tag="failed"):
    failure: Failure


StreamMessage = (
    Eof | Signal | Exited | UploadDone | Failed | TaskReady | Stop | ServerLog | ServerMemory
)
