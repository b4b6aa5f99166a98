"""A web server as small as one can be, so that what lies before it is measured; for any Python 3.

`/` answers 100 bytes, `/large/N` N bytes; connections are kept.
"""

import asyncio
import sys

BLOCK = bytes(256 * 1024)
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n" + b"x" * 100


class Program(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.received = b""
        self.left = 0
        transport.set_write_buffer_limits(4 * len(BLOCK))

    def data_received(self, data):
        self.received += data
        while b"\r\n\r\n" in self.received:
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            path = head.split(b" ", 2)[1]
            if not path.startswith(b"/large/"):
                self.transport.write(SMALL)
                continue
            self.left = int(path.rpartition(b"/")[2])
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.left)
            self.paused = False
            self.pour()

    def pour(self):
        while self.left and not self.paused:
            self.transport.write(BLOCK[: self.left])
            self.left -= min(self.left, len(BLOCK))

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.pour()


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Program, "0.0.0.0", int(sys.argv[1]))  # noqa: S104
    await server.serve_forever()


asyncio.run(main())
