"""What people preview, but for its content: an ASGI application; `/` answers 100 bytes."""

from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def small(request):
    return PlainTextResponse(b"x" * 100)


app = Starlette(routes=[Route("/", small)])
