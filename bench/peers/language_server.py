"""A language server that costs nothing: every answer is made before it is asked.

    python3 language_server.py

A hover of 200 bytes, a completion of 200 kB, and diagnostics of 14 kB for each `bench.diagnose`.
It needs the standard library alone, so that it runs in any image.
"""

import json
import sys

URI = "file:///workspace/bench.stub"


def sized(item: dict[str, object], size: int) -> list[dict[str, object]]:
    """As many copies of an item as have that size together."""
    return [item] * (size // len(json.dumps(item)))


PLACE = {"start": {"line": 3, "character": 4}, "end": {"line": 3, "character": 20}}
CAPABILITIES = {
    "textDocumentSync": 2,
    "hoverProvider": True,
    "completionProvider": {},
    "executeCommandProvider": {"commands": ["bench.diagnose"]},
}
ITEM = {"label": "a_name_to_insert", "kind": 3, "detail": "(x: int) -> str", "sortText": "0001"}
PROBLEM = {"range": PLACE, "severity": 1, "source": "stub", "message": "Something is wrong here."}
RESULTS: dict[str, object] = {
    "initialize": {"capabilities": CAPABILITIES, "serverInfo": {"name": "stub", "version": "1"}},
    "textDocument/hover": {"contents": {"kind": "markdown", "value": "x" * 180}, "range": PLACE},
    "textDocument/completion": {"isIncomplete": False, "items": sized(ITEM, 200_000)},
    "workspace/executeCommand": None,
    "shutdown": None,
}
ANSWERS = {name: json.dumps(result).encode() for name, result in RESULTS.items()}
DIAGNOSTICS = json.dumps(
    {
        "jsonrpc": "2.0",
        "method": "textDocument/publishDiagnostics",
        "params": {"uri": URI, "diagnostics": sized(PROBLEM, 14_000)},
    }
).encode()
MARK = b"Something"  # which the first of them has replaced by what the command was given


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while header := source.readline():
        while source.readline() != b"\r\n":
            pass
        message = json.loads(source.read(int(header.partition(b":")[2])))
        method = message.get("method")
        if method == "exit":
            return
        if method == "workspace/executeCommand":
            mark = message["params"]["arguments"][0].encode()
            body = DIAGNOSTICS.replace(MARK, mark, 1)
            sink.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        if "id" in message and method is not None:
            answer = ANSWERS.get(method, b"null")
            id = json.dumps(message["id"]).encode()
            body = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (id, answer)
            sink.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        sink.flush()


main()
