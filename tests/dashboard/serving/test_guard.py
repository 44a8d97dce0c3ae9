"""The guard of the server: whose requests are answered, whose are refused, and what every answer forbids.

The same in a real browser: tests/browser/test_guard.py.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from dashboard.serving import guard
from engine import child_environment
from engine.serve import free_port

OWN = "127.0.0.1:8501"


@pytest.mark.parametrize(
    ("kind", "scheme", "host", "origin", "is_refused"),
    [
        ("http", "http", OWN, None, False),  # an address that somebody typed, or a link
        ("http", "http", OWN, f"http://{OWN}", False),
        ("http", "http", OWN, "http://127.0.0.1:8502", True),
        ("http", "http", OWN, "null", True),
        ("http", "http", None, f"http://{OWN}", True),
        ("websocket", "ws", OWN, f"http://{OWN}", False),
        ("websocket", "ws", "localhost:9000", "http://localhost:9000", False),  # through a tunnel
        ("websocket", "wss", OWN, f"https://{OWN}", False),
        ("websocket", "ws", OWN, f"https://{OWN}", True),
        ("websocket", "ws", OWN, "http://127.0.0.1", True),
        ("websocket", "ws", OWN, "http://localhost:8501", True),
        ("websocket", "ws", OWN, f"http://{OWN}.evil.example", True),
        ("websocket", "ws", OWN, f"http://evil.example#{OWN}", True),
        ("websocket", "ws", OWN, "", True),
        ("websocket", "ws", OWN, None, True),
        ("websocket", "ws", None, None, True),
    ],
)
def test_whose_requests_are_refused(
    kind: str, scheme: str, host: str | None, origin: str | None, is_refused: bool
) -> None:
    assert guard.refused(kind, scheme, host, origin) == is_refused


@pytest.mark.parametrize(
    ("scheme", "host", "origin", "is_refused"),
    [
        ("ws", "coupling.example.org", "https://coupling.example.org", False),  # a proxy ended TLS
        ("wss", "coupling.example.org", "https://coupling.example.org", False),
        ("ws", "coupling.example.org", "http://coupling.example.org", True),  # a page that came without TLS
        ("ws", OWN, "https://coupling.example.org", True),  # a proxy that does not pass on the host
        ("ws", OWN, f"http://{OWN}", False),
        ("ws", "coupling.example.org", "https://evil.example", True),
        ("ws", "evil.example", "https://coupling.example.org", True),
    ],
)
def test_whose_requests_are_refused_by_a_public_name(scheme: str, host: str, origin: str, is_refused: bool) -> None:
    assert guard.refused("websocket", scheme, host, origin, "https://coupling.example.org") == is_refused


@pytest.mark.parametrize(
    ("public", "secure"), [("https://localhost", True), ("http://localhost:8501", False), (None, False)]
)
def test_where_the_public_name_is_https_cookies_are_secure(public: str | None, secure: bool) -> None:
    def sets(request: Request) -> PlainTextResponse:
        answer = PlainTextResponse("secret")
        answer.set_cookie("one", "1", httponly=True)
        answer.set_cookie("two", "2", secure=True)
        return answer

    app = Starlette(routes=[Route("/", sets)], middleware=guard.middleware(["localhost"], public))
    _, headers = sent_by(app, [(b"host", b"localhost")])
    cookies = [value for name, value in headers if name == "set-cookie"]
    assert len(cookies) == 2 and ["Secure" in cookie for cookie in cookies] == [secure, True]
    assert max(cookie.count("Secure") for cookie in cookies) == 1


def answered(host: str, path: str = "/", **headers: str) -> tuple[int, dict[str, str]]:
    """Status and headers of the answer of a small server behind the guard."""

    async def fails(request: Request) -> PlainTextResponse:
        raise RuntimeError("a mistake in the server")

    routes = [Route("/", lambda request: PlainTextResponse("secret")), Route("/fails", fails)]
    hosts = ["127.0.0.1", "localhost"]
    app = Starlette(routes=routes, middleware=guard.middleware(hosts), exception_handlers={500: guard.failed})
    raw = [(name.lower().encode(), value.encode()) for name, value in {"host": host, **headers}.items()]
    status, found = sent_by(app, raw, path)
    return status, dict(found)


def sent_by(app: Starlette, raw: list[tuple[bytes, bytes]], path: str = "/") -> tuple[int, list[tuple[str, str]]]:
    """Status and headers with which an app answers a request."""
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": path, "query_string": b"", "headers": raw}
    sent: list = []

    async def receive() -> dict:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict) -> None:
        sent.append(message)

    with suppress(RuntimeError), ThreadPoolExecutor(1) as aside:  # Starlette raises it again, for the server's log
        aside.submit(lambda: asyncio.run(app(scope, receive, send))).result()  # a browser's test has a loop here
    body = b"".join(message.get("body", b"") for message in sent)
    assert (b"secret" in body) == (sent[0]["status"] == 200)
    return sent[0]["status"], [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]


@pytest.mark.parametrize(
    ("host", "path", "origin", "status"),
    [
        (OWN, "/", None, 200),
        ("localhost:8501", "/", "http://localhost:8501", 200),
        ("LOCALHOST", "/", None, 200),
        ("evil.example:8501", "/", None, 400),
        ("evil.example:8501", "/", "http://evil.example:8501", 400),
        ("127.0.0.1.evil.example", "/", None, 400),
        ("evil.example:8501@127.0.0.1", "/", None, 400),
        ("", "/", None, 400),
        (OWN, "/", "http://127.0.0.1:8502", 403),
        (OWN, "/absent", None, 404),
        (OWN, "/fails", None, 500),
    ],
)
def test_every_answer_forbids_frames(host: str, path: str, origin: str | None, status: int) -> None:
    found, headers = answered(host, path, **({"origin": origin} if origin else {}))
    assert found == status
    assert headers["content-security-policy"] == "frame-ancestors 'none'"
    assert headers["x-frame-options"] == "DENY"


# -- the dashboard itself ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def outer() -> Iterator[socket.socket]:
    """What the server takes for the way to the internet: whoever connects to it was looking something up there."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.setblocking(False)
        yield listener


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, outer: socket.socket) -> Iterator[int]:
    """Of a dashboard as `coupling dashboard` starts it."""
    runs: Path = tmp_path_factory.mktemp("runs")
    port = free_port(20_000 + os.getpid() % 10_000)  # tests that run beside this one look elsewhere
    code = "import sys; from engine.__main__ import main; sys.argv[0] = 'coupling'; main()"
    command = [sys.executable, "-c", code, "dashboard", str(runs), "--port", str(port)]
    proxy = f"http://127.0.0.1:{outer.getsockname()[1]}"
    ways = {"http_proxy": proxy, "https_proxy": proxy, "no_proxy": ""}
    environment = child_environment(**ways, **{name.upper(): value for name, value in ways.items()})
    log = runs / "log"
    with (
        log.open("w") as out,
        subprocess.Popen(command, cwd=runs, env=environment, stdout=subprocess.PIPE, stderr=out, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            line = next((line for line in process.stdout if line.startswith("Dashboard:")), "")
            port = int(line.split()[1].rpartition(":")[2])
            deadline = time.monotonic() + 300
            while not listening(port):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield port
        finally:
            process.send_signal(2)  # Ctrl-C: it ends its own child


def listening(port: int) -> bool:
    with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port))):
        return True
    return False


def page(port: int, host: str, path: str = "/") -> tuple[int, http.client.HTTPMessage, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=300)) as connection:
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


def handshake(port: int, host: str, origin: str | None) -> int:
    """The status with which the server answers a websocket's first message; 101: the socket is open."""
    lines = [
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}",
        *([f"Origin: {origin}"] if origin else []),
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Protocol: streamlit",
    ]
    with closing(socket.create_connection(("127.0.0.1", port), timeout=300)) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        return int(connection.recv(12, socket.MSG_WAITALL).split()[1])


def test_the_dashboard_answers_by_its_own_names_alone(port: int) -> None:
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        status, headers, body = page(port, host, "/overview")
        assert status == 200 and b"<title>" in body
        assert headers["Content-Security-Policy"] == "frame-ancestors 'none'" and headers["X-Frame-Options"] == "DENY"
    for path in ("/", "/runs", "/_stcore/health", "/_stcore/host-config", "/media/absent.zip"):
        status, headers, body = page(port, f"evil.example:{port}", path)
        assert (status, body) == (400, b"Invalid host header")
    status, headers, _ = page(port, f"127.0.0.1:{port}", "/media/absent.zip")
    assert status == 404 and headers["X-Frame-Options"] == "DENY"


def test_the_empty_address_leads_to_the_overview_with_all_that_it_says(port: int) -> None:
    for query in ("", "?run=a%26b&text=%0d%0aX: 1".replace(" ", "%20")):
        status, headers, _ = page(port, f"127.0.0.1:{port}", f"/{query}")
        assert (status, headers["Location"]) == (307, f"overview{query}")


def test_the_dashboards_websocket_opens_for_its_own_pages_alone(port: int, outer: socket.socket) -> None:
    own = f"127.0.0.1:{port}"
    assert handshake(port, own, f"http://{own}") == 101
    assert handshake(port, f"localhost:{port}", f"http://localhost:{port}") == 101
    refused = [
        (f"evil.example:{port}", f"http://evil.example:{port}"),  # DNS rebinding
        (own, "http://127.0.0.1:1"),  # a page on another local port
        (own, f"http://localhost:{port}"),
        (own, "https://evil.example"),
        (own, "null"),  # a frame in a sandbox
        (own, None),
    ]
    for host, origin in refused:
        assert handshake(port, host, origin) in (400, 403), (host, origin)
    with pytest.raises(BlockingIOError):
        outer.accept()  # nobody came: no refusal made the server look for its outer address
