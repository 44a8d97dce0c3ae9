"""What stands in the head of every document, before Streamlit's own program: style, keys, and early loading.

Streamlit sends an app's style and scripts with its elements, long after the first frame, and the page jumps when they
come. So the server adds them to the document.
"""

from __future__ import annotations

from pathlib import Path

import streamlit
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

END = b"</head>"
SMALL = ("Html", "PageLink", "Button", "ButtonGroup", "Selectbox", "Metric", "Slider", "DownloadButton")
LARGE = ("PlotlyChart",)
"""Parts of Streamlit's program that most pages need; their files have these names."""

WHILE_WAITING = """<script>
if (/\\/(|start|overview|examples|correlation|trajectory|robustness|mechanism)$/.test(location.pathname))
  new MutationObserver((_, observer) => {
    if (!document.querySelector('.st-key-pages nav')) return;
    observer.disconnect();
    requestAnimationFrame(() => setTimeout(() => { IMPORTS }));
  }).observe(document, { childList: true, subtree: true });
</script>"""
"""Runs large parts once the sidebar is drawn: the server then computes the page, and the browser would wait for it."""


class Head:
    """Adds a text to the head of HTML documents. A browser asks for the document anew each time: it is small."""

    def __init__(self, app: ASGIApp, text: str) -> None:
        self.app, self.text = app, text.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "text/html" not in Headers(scope=scope).get("accept", ""):
            await self.app(scope, receive, send)
            return
        plain = (b"accept-encoding", b"if-none-match", b"if-modified-since")  # the document as it is on the disk
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in plain]}
        held: Message | None = None  # the start of a document's answer, until its length is known
        document = b""

        async def answer(message: Message) -> None:
            nonlocal held, document
            if message["type"] == "http.response.start" and "text/html" in MutableHeaders(scope=message).get(
                "content-type", ""
            ):
                held = message
                return
            if held is None:
                await send(message)
                return
            document += message.get("body", b"")
            if message.get("more_body"):
                return
            document = document.replace(END, self.text + END, 1)
            headers = MutableHeaders(scope=held)
            if scope["method"] != "HEAD":
                headers["content-length"] = str(len(document))
            for name in ("etag", "last-modified"):
                if name in headers:
                    del headers[name]
            await send(held)
            await send({"type": "http.response.body", "body": document})

        await self.app(scope, receive, answer)


def early() -> str:
    """Tells the browser to load parts of Streamlit's program beside the rest, not one by one when their elements come.

    Small ones are run, too: an element whose part is there is drawn at its height at once. Large ones are run on pages
    that need them, while the server computes the page.
    """
    folder = Path(streamlit.__file__).parent / "static" / "static" / "js"
    paths = {file.name.split(".")[0]: f"./static/js/{file.name}" for file in folder.glob("*.js")}
    small, all_of_them = ([paths[name] for name in names if name in paths] for names in (SMALL, (*SMALL, *LARGE)))
    links = "".join(f'<link rel="modulepreload" crossorigin href="{path}">' for path in all_of_them)
    at_once = "".join(f"import({path!r});" for path in small)
    while_waiting = "".join(f"import({paths[name]!r});" for name in LARGE if name in paths)
    return f"{links}<script type=module>{at_once}</script>{WHILE_WAITING.replace('IMPORTS', while_waiting)}"
