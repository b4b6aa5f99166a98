"""The front end: built files from `dist/`, and its one page for every address that is not one."""

from __future__ import annotations

import secrets
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.staticfiles import StaticFiles

from cloudide.web.access import content_security_policy
from cloudide.web.services import services

NONCE = "CSP-NONCE"  # what `vite.config.ts` has put in its place
DIST = Path(__file__).parent / "dist"


class Assets(StaticFiles):
    """Files whose names carry a hash of their content: they never change."""

    def file_response(self, *args, **keywords) -> Response:
        response = super().file_response(*args, **keywords)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def assets() -> Assets:
    return Assets(directory=DIST / "assets", check_dir=False)


async def page(request: Request) -> Response:
    """The page; it looks at its own address and shows what belongs there."""
    name = request.path_params.get("path", "")
    file = DIST / name
    if name and "/" not in name and file.is_file():
        return FileResponse(file, headers={"Cache-Control": "no-cache"})
    index = DIST / "index.html"
    if not index.is_file():
        return PlainTextResponse(
            "The front end is not built. Run `make serve`, or `npm run build` in frontend/.\n", 503
        )
    nonce = secrets.token_urlsafe(16)
    content = index.read_text().replace(NONCE, nonce)
    policy = content_security_policy(services(request).settings, nonce)
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": policy}
    return HTMLResponse(content, headers=headers)
