"""The few pages that a preview's host shows itself, while the program behind it does not answer."""

from __future__ import annotations

import html
import json

from starlette.responses import Response

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 34rem; margin: 18vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.35rem; margin: 0 0 .5rem; }
p { margin: .5rem 0; }
code { font-family: ui-monospace, monospace; }
"""
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}
# Asks until the port is open, and then loads the page anew. A server that is away is asked again.
_WAIT = """
const status = document.querySelector('[role=status]');
(async () => {
  for (;;) {
    try {
      const answer = await fetch(%s, {cache: 'no-store'});
      if (answer.status === 204) { location.reload(); return; }
      if (answer.status !== 202) { status.textContent = 'Reload this page to try again.'; return; }
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
})();
"""
# The link's secret is behind the `#`, so that no log and no program on the way sees it.
_LINK = """
fetch(location.pathname, {method: 'POST', body: location.hash.slice(1)}).then((answer) => {
  if (answer.ok) location.replace('/');
  else document.querySelector('[role=status]').textContent =
    'This link has ended or was withdrawn. Ask whoever gave it to you for a new one.';
});
"""


def page(status: int, title: str, *paragraphs: str, script: str = "") -> Response:
    """A page of plain sentences; `script` runs in it."""
    body = "".join(f"<p>{html.escape(each)}</p>" for each in paragraphs)
    if script:
        body += f'<p role="status"></p><script>{script}</script>'
    content = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        '</title><meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style></head><body><main><h1>{html.escape(title)}</h1>{body}</main>"
        "</body></html>"
    )
    return Response(content, status, _HEADERS, media_type="text/html")


def plain(status: int, sentence: str) -> Response:
    return Response(f"{sentence}\n", status, _HEADERS, media_type="text/plain")


def waiting(title: str, *paragraphs: str, path: str, status: int) -> Response:
    """A page that waits for the port and reloads when it opens; `path` is asked whether it has."""
    return page(
        status,
        title,
        *paragraphs,
        "This page reloads by itself as soon as the port opens.",
        script=_WAIT % json.dumps(path),
    )


def link() -> Response:
    """Takes the secret out of the address and signs in with it."""
    return page(200, "Opening the preview", script=_LINK)
