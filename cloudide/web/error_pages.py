"""Errors of addresses that people's browsers are sent to by others: pages, where there is no page
of ours around that could show a problem document."""

from __future__ import annotations

import html

from starlette.responses import Response

from cloudide.errors import CloudIDEError

# The page's own policy lets nothing in; its looks are those of the browser, in both schemes.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>{title} · CloudIDE</title>
<link rel="stylesheet" href="/error.css">
</head>
<body><main><h1>{title}</h1><p role="alert">{message}</p><p><a href="{href}">{link}</a></p></main>
</body>
</html>
"""


def error_page(error: CloudIDEError, href: str = "/", link: str = "Go to CloudIDE") -> Response:
    """What, why and what to do, with a way on."""
    content = _PAGE.format(
        title=html.escape(error.title),
        message=html.escape(error.message),
        href=html.escape(href),
        link=html.escape(link),
    )
    return Response(content, error.status, {"Cache-Control": "no-store"}, media_type="text/html")
