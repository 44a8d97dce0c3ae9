"""The server with its guard, and as the script of every page: page configuration and navigation, nothing else.

Started by `coupling dashboard`, or by hand: `streamlit run dashboard/app.py -- DIR…`. Streamlit finds `app` in this
file and serves it; it then runs the same file as the script that draws a page.
"""

import importlib
import sys
from pathlib import Path
from typing import Any

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Route
from streamlit.starlette import App

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this copy, not one installed elsewhere
from dashboard import PAGES
from dashboard.serving import guard, head, memory, parent, sign_in
from dashboard.widgets import navigation
from dashboard.widgets.page_style import PAGE_STYLE, SCRIPT
from engine.config import InputError

# Sessions are threads. If one imports a package that imports its own modules, and another imports one of these modules,
# each waits for the other, and Python raises an ImportError. So every session imports the packages first.
for package in ("engine.config", "engine.tasks", "dashboard.charts"):
    importlib.import_module(package)

TITLES = {
    "What a run shows": [
        ("overview", "Overview", ":material/visibility:"),
        ("examples", "Examples", ":material/article:"),
        ("correlation", "Correlation", ":material/scatter_plot:"),
        ("trajectory", "Trajectory", ":material/timeline:"),
        ("robustness", "Robustness", ":material/tune:"),
        ("mechanism", "Mechanism", ":material/grid_on:"),
        ("compare", "Compare", ":material/compare_arrows:"),
        ("study", "Study", ":material/grid_view:"),
    ],
    "Try it": [
        ("lab", "Lab", ":material/science:"),
        ("audit", "Audit", ":material/fact_check:"),
        ("learn", "Learn", ":material/school:"),
    ],
    "Runs": [("runs", "Runs", ":material/folder_open:")],
}


def draw() -> None:
    """Draw the page at the session's address, with the navigation beside it."""
    memory.freeze_modules()

    def page(name: str, title: str, icon: str) -> Any:
        return st.Page(PAGES / f"{name}.py", title=title, icon=icon)

    def start() -> None:  # a page of its own at the empty address: no link in the sidebar could lead there from others
        st.switch_page(pages["overview"], query_params=st.query_params.to_dict())

    # Pictures of our own: a named icon would be fetched from a font server.
    st.set_page_config("Introspective Coupling", str(Path(__file__).with_name("icon.svg")), layout="wide")
    st.logo(str(Path(__file__).with_name("wordmark.svg")), size="large")
    if not sign_in.gate():
        return
    pages = {about[0]: page(*about) for section in TITLES.values() for about in section}
    sections = {title: [about[0] for about in section] for title, section in TITLES.items()}
    first = st.Page(start, title="Overview", url_path="start", default=True)
    chosen = st.navigation([first, *pages.values()], position="hidden")  # Streamlit's own links forget the run
    if chosen == first:
        chosen.run()
    navigation.draw_around(chosen, pages, sections)


def to_overview(request: Request) -> RedirectResponse:
    """From the empty address. Streamlit's own way there would draw a page twice."""
    return RedirectResponse("overview" + (f"?{request.url.query}" if request.url.query else ""))


if __name__ == "__main__":
    draw()
else:
    parent.end_with_parent()
    try:
        signing_in = sign_in.of_this_server()
    except InputError as error:
        print(f"coupling: {error}", file=sys.stderr)
        sys.exit(2)
    # The names are an option of Streamlit's, in config.toml beside this file: its own check of websockets reads it too.
    hosts = st.get_option("server.allowedHosts") or ["127.0.0.1", "localhost"]
    layers = guard.middleware(hosts, signing_in.origin if signing_in else None)
    if signing_in:
        layers.append(Middleware(sign_in.SignedInOnly, sign_in=signing_in))
    layers.append(Middleware(head.Head, text=PAGE_STYLE + SCRIPT + head.early()))
    app = App(
        Path(__file__).resolve(),
        routes=[Route("/", to_overview)],
        middleware=layers,
        exception_handlers={500: guard.failed},
    )
