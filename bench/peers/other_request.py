"""How long another request to a server takes meanwhile: `other_request.py HOST PORT`, until killed.

It asks for /healthz every 5 ms on one connection. At the end of its input it prints the median, the
99th percentile and the longest, in milliseconds.
"""

import json
import select
import socket
import statistics
import sys
import time

PAUSE = 0.005  # seconds


def main() -> None:
    host, port = sys.argv[1], int(sys.argv[2])
    took: list[float] = []
    with socket.create_connection((host, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while not select.select([sys.stdin], [], [], PAUSE)[0]:
            began = time.perf_counter()
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: probe\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                answer += connection.recv(65536)
            took.append((time.perf_counter() - began) * 1000)
            assert answer.startswith(b"HTTP/1.1 200"), answer
    hundredths = statistics.quantiles(took, n=100)
    print(json.dumps([statistics.median(took), hundredths[98], max(took)]))


main()
