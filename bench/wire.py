"""A websocket client that costs next to nothing, so that what is measured is not the client.

Frames are read as a server sends them (RFC 6455 section 5.2): not masked and, as all servers here
do it, not fragmented. What is sent is masked with zeros, which changes nothing.
"""

from __future__ import annotations

import asyncio
import base64
import os
from urllib.parse import urlsplit

BUFFER = 1 << 20  # bytes
_LENGTHS = {126: 2, 127: 8}  # bytes of a length that is too large for the second byte
_CLOSE, _PING, _PONG = 0x8, 0x9, 0xA


class Socket:
    """An open websocket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, text: str) -> None:
        self._write(0x1, text.encode())
        await self._writer.drain()

    async def recv(self) -> bytes:
        """The next message.

        Raises:
            ConnectionError: the server has closed.
        """
        while True:
            first, second = await self._reader.readexactly(2)
            length = second
            if second in _LENGTHS:
                length = int.from_bytes(await self._reader.readexactly(_LENGTHS[second]))
            data = await self._reader.readexactly(length) if length else b""
            match first & 0xF:
                case code if code == _CLOSE:
                    raise ConnectionError(f"The server closed: {data!r}")
                case code if code == _PING:
                    self._write(_PONG, data)
                case _:
                    return data

    def _write(self, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            header = bytes((0x80 | opcode, 0x80 | size))
        elif size < 1 << 16:
            header = bytes((0x80 | opcode, 0x80 | 126)) + size.to_bytes(2)
        else:
            header = bytes((0x80 | opcode, 0x80 | 127)) + size.to_bytes(8)
        self._writer.write(header + bytes(4) + data)

    async def __aenter__(self) -> Socket:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._write(_CLOSE, (1000).to_bytes(2))
        self._writer.close()


async def connect(url: str, headers: dict[str, str]) -> Socket:
    """Raises: ConnectionError: the server does not take it."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    reader, writer = await asyncio.open_connection(host, port, limit=BUFFER)
    lines = {
        "Host": f"{host}:{port}",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    writer.write(f"GET {address.path} HTTP/1.1\r\n{head}\r\n".encode())
    answer = await reader.readuntil(b"\r\n\r\n")
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(answer.decode())
    return Socket(reader, writer)
