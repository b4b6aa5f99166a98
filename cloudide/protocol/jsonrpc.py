"""JSON-RPC 2.0 as the Language Server Protocol uses it: envelopes, and frames on byte streams.

A message is a request (`method` and `id`), a notification (`method` alone) or a response (`id` with
`result` or `error`). Only the envelope is decoded; `params`, `result` and `error` stay the bytes
that came, so that whoever passes a message on neither pays for its body nor loses what it does not
know. On a byte stream each message stands behind a header (LSP 3.17, Base Protocol):

    Content-Length: 52\\r\\n
    \\r\\n
    {"jsonrpc":"2.0","id":1,"method":"shutdown"}

msgspec refuses a lone surrogate (`"\\ud800"`), which JavaScript programs do send; such a message is
read, and written again, by the standard library.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NoReturn

import msgspec

ID_LIMIT = 1024  # characters of an id that is text
HEADER_LIMIT = 4096  # bytes
SHORT = 4096  # bytes
NULL = b"null"

Id = int | str


class ErrorCode(IntEnum):
    """JSON-RPC 2.0 section 5.1, and LSP 3.17 (Response Message)."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    SERVER_NOT_INITIALIZED = -32002
    REQUEST_FAILED = -32803
    SERVER_CANCELLED = -32802
    CONTENT_MODIFIED = -32801
    REQUEST_CANCELLED = -32800


class Malformed(Exception):
    """Not a message. `code` is the error to answer with; `id` whom to, None where it has none."""

    def __init__(self, code: ErrorCode, message: str, id: Id | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.id = id

    @property
    def message(self) -> str:
        return str(self.args[0])


ABSENT: Any = msgspec.Raw()  # a member that is not there


class Message(msgspec.Struct, frozen=True):
    """An envelope. What is absent is UNSET, or an empty `Raw`."""

    id: int | str | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT


class Error(msgspec.Struct, frozen=True, omit_defaults=True):
    """The `error` of a response. `data` stays as it came."""

    code: int
    message: str
    data: msgspec.Raw = ABSENT


_messages = msgspec.json.Decoder(Message)
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
# What msgspec raises for input that is no such thing.
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def read(body: bytes | str) -> Message:
    """Read one message.

    Raises:
        Malformed: it is no JSON, or not one request, notification or response. A batch (an array)
            is none: LSP has no batches.
    """
    try:
        if isinstance(body, bytes):
            # A `Raw` is not looked into; what is passed on has to be text all the same.
            body.decode()
        message = _messages.decode(body)
    except msgspec.ValidationError as error:
        raise Malformed(ErrorCode.INVALID_REQUEST, f"Not a JSON-RPC message: {error}.") from error
    except _UNREADABLE:
        message = _read_slowly(body)
    return _checked(message)


def _read_slowly(body: bytes | str) -> Message:
    try:
        content = json.loads(body, parse_constant=_no_constant)
        if not isinstance(content, dict):
            raise Malformed(ErrorCode.INVALID_REQUEST, "Not a JSON-RPC message: not an object.")
        fields: dict[str, Any] = {}
        for name, value in content.items():  # pyright: ignore[reportUnknownVariableType]
            if name in ("params", "result", "error"):
                fields[name] = msgspec.Raw(json.dumps(value).encode())
            elif name in ("id", "method"):
                fields[name] = value
    except (ValueError, RecursionError) as error:
        raise Malformed(ErrorCode.PARSE_ERROR, "The message is not JSON.") from error
    id, method = fields.get("id", 0), fields.get("method", "")
    if isinstance(id, bool) or not isinstance(id, int | str | None) or not isinstance(method, str):
        raise Malformed(ErrorCode.INVALID_REQUEST, "Not a JSON-RPC message: id or method.")
    return Message(**fields)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _checked(message: Message) -> Message:
    id = message.id
    if isinstance(id, str) and (len(id) > ID_LIMIT or not _encodable(id)):
        raise Malformed(ErrorCode.INVALID_REQUEST, f"An id has at most {ID_LIMIT} characters.")
    if isinstance(message.method, str):
        if id is None:
            raise Malformed(ErrorCode.INVALID_REQUEST, "The id of a request is a number or text.")
        if not _encodable(message.method):
            raise Malformed(ErrorCode.INVALID_REQUEST, "The method is not a name.")
        return message
    if id is msgspec.UNSET:
        raise Malformed(ErrorCode.INVALID_REQUEST, "The message has neither a method nor an id.")
    known = id if isinstance(id, int | str) else None
    # Some servers answer with both, one of them null.
    if not bytes(message.result) and not bytes(message.error):
        raise Malformed(ErrorCode.INVALID_REQUEST, "The response has no result.", known)
    return message


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_error(message: Message) -> bool:
    """Whether a response is one of failure."""
    return bytes(message.error) not in (b"", NULL)


def loads(raw: bytes | msgspec.Raw) -> Any:
    """What a body holds; None where it is absent.

    Raises:
        Malformed: it is no JSON.
    """
    if not bytes(raw):
        return None
    try:
        return msgspec.json.decode(raw)
    except _UNREADABLE:
        try:
            return json.loads(bytes(raw), parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise Malformed(ErrorCode.PARSE_ERROR, "The message is not JSON.") from error


def dumps(value: Any) -> bytes:
    """JSON of a value, lone surrogates escaped."""
    try:
        return _encode(value)
    except UnicodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def request(id: Id, method: str, params: bytes | msgspec.Raw = b"") -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"method":%b%b}' % (_encode(id), _encode(method), _of(params))


def notification(method: str, params: bytes | msgspec.Raw = b"") -> bytes:
    return b'{"jsonrpc":"2.0","method":%b%b}' % (_encode(method), _of(params))


def response(id: Id | None, result: bytes | msgspec.Raw = NULL) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (_encode(id), bytes(result) or NULL)


def failure(id: Id | None, code: int, message: str) -> bytes:
    return failed(id, _encode(Error(code, message)))


def failed(id: Id | None, error: bytes | msgspec.Raw) -> bytes:
    """A response with an error that somebody else made."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (_encode(id), bytes(error))


def error_of(message: Message) -> Error:
    """The error of a response of failure; one that is none itself becomes an internal error."""
    try:
        return msgspec.json.decode(message.error, type=Error)
    except _UNREADABLE:
        return Error(ErrorCode.INTERNAL_ERROR, "The language server failed and did not say how.")


def _of(params: bytes | msgspec.Raw) -> bytes:
    return b',"params":' + bytes(params) if bytes(params) else b""


# ── frames on a byte stream ─────────────────────────────────────────────────────────────────────


class FramingError(Exception):
    """The bytes are no frames; nothing after them can be understood."""


def frame(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


class Framer:
    """Cuts a stream of bytes, in whatever pieces it comes, into the bodies of its frames."""

    def __init__(self, limit: int) -> None:
        """`limit`: bytes of a body."""
        self._limit = limit
        self._pieces: list[memoryview | bytearray] = []  # of the body
        self._missing = 0  # bytes of the body that are still to come; 0 while a header is
        self._header = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete with `data`.

        Raises:
            FramingError: a header is none or too long, or announces more than the limit.
        """
        bodies: list[bytes] = []
        view, at = memoryview(data), 0
        while at < len(data):
            if not self._missing:
                at = self._read_header(data, at)
                continue
            piece = view[at : at + self._missing]
            at += len(piece)
            self._missing -= len(piece)
            self._keep(piece)
            if not self._missing:
                bodies.append(b"".join(self._pieces))
                self._pieces.clear()
        return bodies

    def _keep(self, piece: memoryview) -> None:
        """Long pieces stay where they are until the body is put together: one copy of each byte.
        Short ones are gathered, or each would take many times its size."""
        if len(piece) >= SHORT:
            self._pieces.append(piece)
        elif self._pieces and isinstance(last := self._pieces[-1], bytearray):
            last += piece
        else:
            self._pieces.append(bytearray(piece))

    def _read_header(self, data: bytes, start: int) -> int:
        """Read a header as far as it has come; returns where what is behind it begins."""
        former = self._header
        header = former + data[start : start + HEADER_LIMIT + 4]
        end = header.find(b"\r\n\r\n", max(0, len(former) - 3))
        if (end if end >= 0 else len(header)) > HEADER_LIMIT:
            raise FramingError("A message's header is too long.")
        if end < 0:
            self._header = header
            return len(data)
        self._header = b""
        self._missing = self._length(header[:end])
        return start + end + 4 - len(former)

    def _length(self, header: bytes) -> int:
        lengths: set[bytes] = set()
        for line in header.split(b"\r\n"):
            name, colon, value = line.partition(b":")
            if not colon:
                raise FramingError(f"Not a message's header: {line[:80]!r}.")
            if name.strip().lower() == b"content-length":
                lengths.add(value.strip())
        length = lengths.pop() if len(lengths) == 1 else b""
        if not (length.isdigit() and len(length) < 12 and int(length)):
            raise FramingError("A message's header has no Content-Length.")
        if int(length) > self._limit:
            raise FramingError(
                f"A message has {int(length):,} bytes; the limit is {self._limit:,}."
            )
        return int(length)
