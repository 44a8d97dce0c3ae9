"""From a slider's release to a redrawn chart, in Chromium: the live refit of the robustness page.

A hand-built run (2,000 training rows × 256 dimensions), 11 levels × 20 seeds of noise. A key moves a slider and
releases it at once. The page's own clock times four moments: key down, message to the server, last message before the
redraw, chart drawn. The server says how long it computed. Each move goes on in one direction to a setting that was not
there before, so that no cache holds it. A row is the median over all moves that its slider allows.

Goal: computing takes less than 50 ms where the factorisation stays: noise level, noise seeds and penalty. The number of
training examples and the layer change the matrix that is factorised, which costs more than that by itself; their rows
are measured, have no goal, and say so.
"""

from __future__ import annotations

import statistics
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.benchmarks.side_by_side import row
from tests.browser.chromium import launched
from tests.browser.server import PATIENCE, serving, settled
from tests.synthetic_run import write_run

GOAL_MS = 50.0
PROMPTS, WIDTH, SEEDS = 4_000, 256, 20
START = {"seeds": SEEDS, "level": "0%", "penalty": "0.001"}
"""Sliders that begin at another end than by default."""
TRAVEL = {
    "Level of noise": ("ArrowRight", 10),
    "Ridge penalty": ("ArrowRight", 8),
    "Seeds of the noise": ("ArrowLeft", 4),
    "Training examples": ("ArrowLeft", 6),
    "Layer": ("ArrowLeft", 1),
}
"""Slider → the key, and the number of moves that lead to new settings."""
FACTORISED_ANEW = ("Training examples", "Layer")
"""Sliders that change the training rows themselves: they are measured, and have no goal."""

WATCH = """
const now = () => performance.now();
const plot = () => document.querySelector('.js-plotly-plot');
let times = window.times = {};
addEventListener('keydown', () => {
  const old = plot();
  times = window.times = { released: now() };
  const look = () => {  // Streamlit draws changed data as a new chart
    if (plot() && plot() !== old && plot().querySelector('.scatterlayer path')) times.drawn = now();
    else requestAnimationFrame(look);
  };
  look();
}, true);
window.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener('message', () => { if (!times.drawn) times.received = now(); });
  }
  send(data) { times.sent ??= now(); return super.send(data); }
};
"""
PARTS = ("until sent", "computing", "rest of the server", "drawing")


def rows() -> list[dict[str, Any]]:
    """One row for each slider: milliseconds computed as ours, the goal as theirs; shares of the whole in the note."""
    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        write_run(Path(folder) / "slider", prompts=PROMPTS, checkpoints=2, width=WIDTH, noises=(0.0, 0.5))
        with serving(Path(folder)) as address:
            page = browser.new_page(viewport={"width": 1280, "height": 1600})
            page.set_default_timeout(PATIENCE)
            page.add_init_script(WATCH)
            page.goto(f"{address}/robustness?run=slider&{urllib.parse.urlencode(START)}")
            settled(page)
            found = [_row(slider, list(_moved(page, slider, *travel))) for slider, travel in TRAVEL.items()]
            page.close()
    return found


def _moved(page: Page, slider: str, key: str, moves: int) -> Iterator[dict[str, float]]:
    """Milliseconds of each part of each move."""
    for _ in range(moves):
        page.get_by_role("slider", name=slider).focus()
        page.keyboard.press(key)
        page.wait_for_function("window.times.drawn")
        settled(page)
        at = page.evaluate("window.times")
        computed = float(page.locator(".refit").get_attribute("value") or "nan")
        yield {
            "until sent": at["sent"] - at["released"],
            "computing": computed,
            "rest of the server": at["received"] - at["sent"] - computed,
            "drawing": at["drawn"] - at["received"],
            "whole": at["drawn"] - at["released"],
        }


def _row(slider: str, moves: list[dict[str, float]]) -> dict[str, Any]:
    computed = [move["computing"] for move in moves]
    middle = {part: statistics.median(move[part] for move in moves) for part in (*PARTS, "whole")}
    shares = ", ".join(f"{part} {middle[part]:.0f} ({middle[part] / middle['whole']:.0%})" for part in PARTS)
    note = f"median of {len(moves)}; release to redraw {middle['whole']:.0f} ms: {shares}"
    goal = None if slider in FACTORISED_ANEW else 1.0
    if goal is None:
        note += "; exempt from the goal: the training rows change, so the factorisation is computed anew"
    return row(f"slider, computing: {slider}", computed, [GOAL_MS] * len(moves), goal, note=note, unit="ms")
