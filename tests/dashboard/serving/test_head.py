"""What the server adds to documents, and to nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import streamlit
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from dashboard.serving.head import LARGE, SMALL, Head, early

DOCUMENT = Path(streamlit.__file__).parent / "static" / "index.html"
ADDED = "<style>p { color: red }</style>"


def client() -> TestClient:
    routes = [
        Route("/", lambda request: FileResponse(DOCUMENT)),
        Route("/data", lambda request: JSONResponse({"text": "</head>"})),
        Route("/empty", lambda request: Response(status_code=304)),
    ]
    layers = [Middleware(Head, text=ADDED), Middleware(GZipMiddleware, minimum_size=10)]
    return TestClient(Starlette(routes=routes, middleware=layers))


def test_a_document_has_it_before_the_end_of_its_head_and_is_asked_for_anew():
    page = client().get("/", headers={"accept": "text/html,*/*", "accept-encoding": "gzip"})
    assert page.text == DOCUMENT.read_text().replace("</head>", f"{ADDED}</head>")
    assert int(page.headers["content-length"]) == len(page.content)
    assert not {"etag", "last-modified"} & set(page.headers)


def test_other_answers_are_as_they_were():
    for accept in ("text/html", "*/*"):
        assert client().get("/data", headers={"accept": accept}).json() == {"text": "</head>"}
        assert client().get("/empty", headers={"accept": accept}).status_code == 304
    assert client().get("/", headers={"accept": "image/png"}).text == DOCUMENT.read_text()


def test_the_parts_that_are_loaded_early_are_among_streamlits_files():
    names = re.findall(r'href="./static/js/([^"]+)"', early())
    assert [name.split(".")[0] for name in names] == [*SMALL, *LARGE]
    assert all((DOCUMENT.parent / "static" / "js" / name).is_file() for name in names)
