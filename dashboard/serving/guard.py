"""What the server answers: requests to its own name that its own pages make, and in no frame of another page.

A page of another site can reach a server on this machine: through a name of its own that leads here (DNS rebinding), or
from another local port. Its requests carry that name as their host, or that page as their origin, and are refused
before any of Streamlit's code sees them; so Streamlit never looks for the machine's outer address to compare it with.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""On every answer: no page shows it in a frame, holds its window, or loads it as a script or an image."""
SCHEMES = {"ws": "http", "wss": "https"}
REFUSED = "This request comes from another page. Open the dashboard by the address that it printed.\n"


def refused(kind: str, scheme: str, host: str | None, origin: str | None, public: str | None = None) -> bool:
    """Whether another page makes this request, by its headers Host and Origin. kind: "http" or "websocket".

    A browser names the origin of every websocket, and of every request that changes something or goes elsewhere.
    public: the origin of a server with sign-in. A proxy before it may end TLS, so the scheme is taken from there.
    """
    if origin is None:
        return kind == "websocket"
    own = f"{SCHEMES.get(scheme, scheme)}://{host}".lower()
    if public and own.partition("://")[2] == public.partition("://")[2]:
        own = public
    return host is None or origin.lower() != own


class OwnPagesOnly:
    """Refuses what `refused` says, and puts HEADERS on every answer. Where `public` is https, so are all cookies."""

    def __init__(self, app: ASGIApp, public: str | None = None) -> None:
        self.app, self.public = app, public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"].endswith("http.response.start"):  # of a websocket that is refused, too
                MutableHeaders(scope=message).update(HEADERS)
                if (self.public or "").startswith("https:"):
                    message["headers"] = [(k, _secure(k, v)) for k, v in message["headers"]]
            await send(message)

        app = self.app
        if scope["type"] != "lifespan":
            headers = Headers(scope=scope)
            if refused(scope["type"], scope["scheme"], headers.get("host"), headers.get("origin"), self.public):
                app = PlainTextResponse(REFUSED, status_code=403)
        await app(scope, receive, answer)


def _secure(name: bytes, value: bytes) -> bytes:
    return value + b"; Secure" if name.lower() == b"set-cookie" and b"; secure" not in value.lower() else value


def middleware(hosts: Sequence[str], public: str | None = None) -> list[Middleware]:
    """For the server; it answers to these host names alone, by any port: a tunnel may have another one."""
    known = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return [Middleware(OwnPagesOnly, public=public), known]


async def failed(request: Request, error: Exception) -> PlainTextResponse:
    """The answer after an error in the server itself, which no middleware sees."""
    return PlainTextResponse("Internal Server Error", status_code=500, headers=HEADERS)
