"""The dashboard on a run of three million examples: pages beside pandas, bytes of a scatter, a browser and its server.

The run is made on the spot (a few minutes), or taken from the folder that LARGE_RUN names.
`python -m tests.benchmarks.dashboard` prints each visit with its seconds and the server's memory.
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io
import psutil
import pyarrow.parquet as pq

from dashboard import charts
from dashboard.charts.on_page import for_page
from dashboard.reading import columns, data, example_rows, tables
from dashboard.reading.slices import Slice
from engine.runs import integrity
from tests.benchmarks.large_run import EDITS, EXAMPLES_DEFAULT, write_large_run
from tests.benchmarks.side_by_side import NOT_TIMED, row, side_by_side
from tests.synthetic_run import TOPICS

PAGE = 12
SETTING = data.Setting("gpt2--step-0100", "ridge", "frozen")
POINTS = 1_000_000
MEMORY_LIMIT = 1e9 / 2**20
"""MiB, of the server at its peak: 1 GB."""
SECOND = "again"


@contextmanager
def large_run() -> Iterator[Path]:
    """The run: the one that is there, or a new one that is removed afterwards."""
    if given := os.environ.get("LARGE_RUN"):
        yield Path(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield write_large_run(Path(folder) / "runs" / "large", EXAMPLES_DEFAULT)


def asked(repetition: int) -> tuple[str, str]:
    """Another filter each time, so that no page is in a cache."""
    return EDITS[repetition // len(TOPICS) % 2], TOPICS[repetition % len(TOPICS)]


def our_page(path: Path, repetition: int) -> np.ndarray:
    edit, topic = asked(repetition)
    example_rows.order.clear()
    example_rows.rows.clear()
    where = Slice(values={"meta_topic": (topic,)})
    found = example_rows.order(path, example_rows.Query(SETTING, "test_heldout", edit, where))
    return numbers(example_rows.rows(path, SETTING, found[:PAGE].tolist()), len(found))


def pandas_page(path: Path, repetition: int) -> np.ndarray:
    """Less than ours: the file of examples alone, without behavior and explanations."""
    edit, topic = asked(repetition)
    frame = pd.read_parquet(path / "examples.parquet")
    kept = frame[(frame["split"] == "test_heldout") & (frame["edit"] == edit) & (frame["meta_topic"] == topic)]
    return numbers(kept.head(PAGE), len(kept))


def numbers(rows: pd.DataFrame, total: int) -> np.ndarray:
    """A page as numbers that can be compared: the number of rows that fit, and ids and lengths of texts of its rows."""
    texts = [int(i, 16) % 2**40 for i in rows["example_id"]] + [len(t) for c in ("prompt", "edited") for t in rows[c]]
    return np.array([total, *texts], dtype=np.float64)


def page_rows(path: Path) -> list[dict[str, Any]]:
    our_page(path, 0)
    started = time.process_time()
    first_page(path)
    first = time.process_time() - started
    n = pq.read_metadata(path / "examples.parquet").num_rows
    name = f"a filtered page of {n:,} examples against pandas reading the file"
    note = (
        "a filter not asked before, in a run that is open; ours has effects and explanations, pandas reads the "
        f"examples only; the very first page of a run takes {first:.1f} s of processor time"
    )
    sides = (lambda r: our_page(path, r)), (lambda r: pandas_page(path, r))
    return [side_by_side(name, *sides, goal=40, tolerance=0.0, repetitions=3, note=note)]


def first_page(path: Path) -> float:
    """Open a page as a server does that has read nothing of the run; wall seconds."""
    data_columns = (columns.behavior, columns.explained, columns.category, columns.ids_digest)
    for cached in (example_rows.order, example_rows.rows, *data_columns):
        cached.clear()
    started = time.perf_counter()
    our_page(path, 0)
    return time.perf_counter() - started


def seconds_of_hashes(path: Path) -> float:
    """Wall seconds by which the first page is later because its parts' hashes are checked; the median of five."""
    later = []
    for _ in range(5):
        known = first_page(path)
        integrity._kept.clear()
        tables._check_ahead.clear()
        later.append(first_page(path) - known)
    return statistics.median(later)


def scatter_rows() -> list[dict[str, Any]]:
    """The bytes that Streamlit sends for one panel: the figure's JSON."""
    rng = np.random.default_rng(0)
    effect = rng.normal(size=POINTS).astype(np.float32)
    frame = pd.DataFrame(
        {
            "effect_current": effect,
            "explanation": (0.7 * effect + rng.normal(size=POINTS)).astype(np.float32),
            "edit": pd.Categorical.from_codes(rng.integers(0, 2, POINTS), EDITS),
            "example_id": pd.array([f"{i:016x}" for i in range(POINTS)], dtype="str"),
        }
    )
    limits = charts.Limits.of(frame["effect_current"].to_numpy(), frame["explanation"].to_numpy())
    titles = {"x_title": "Δ, nats", "y_title": "explanation, nats"}
    ours = for_page(charts.scatter(frame, "effect_current", limits=limits, colour="edit", **titles), dark=False)
    arrays = {"x": frame["effect_current"].to_numpy(), "y": frame["explanation"].to_numpy(), "mode": "markers"}
    own, peer = (len(plotly.io.to_json(f, validate=False)) for f in (ours, go.Figure(go.Scattergl(**arrays))))
    note = "float32, theirs in base64; pandas' ids are not counted to Plotly"
    name = f"{POINTS:,}-point scatter, sent to the browser"
    return [row(name, [own / 1e6], [peer / 1e6], 20, note=note, unit="MB", **NOT_TIMED)]


def usage(server: psutil.Process) -> tuple[float, float, float]:
    """The server's processor seconds, and its memory in MiB now and at the peak."""
    times = server.cpu_times()
    status = (Path("/proc") / str(server.pid) / "status").read_text()
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    return times.user + times.system, server.memory_info().rss / 2**20, peak / 2**10


def visits(path: Path) -> list[tuple[str, str, dict[str, str]]]:
    """A reader's visits, in order: name, page, query parameters."""
    held = {"split": "test_heldout"}
    deep = example_rows.order(path, example_rows.Query(SETTING, "test_heldout", sort="error"))
    identity = example_rows.rows(path, SETTING, [int(deep[len(deep) // 2])])["example_id"].iloc[0]
    return [
        ("examples, the first page that anybody opens", "examples", held),
        ("examples, again", "examples", held),
        ("overview", "", {}),
        ("examples: filter, sort, text search", "examples",
         held | {"slice": "text:place 77;meta_topic:history", "sort": "error"}),
        (f"a permalink: place {len(deep) // 2:,} of {len(deep):,}", "examples",
         held | {"sort": "error", "example": identity, "hash": data.content_hash(path)}),
        ("correlation", "correlation", held),
        ("correlation of a slice", "correlation", held | {"slice": "meta_topic:history", "colour": "meta_speaker"}),
        ("trajectory", "trajectory", held),
        ("correlation, the other checkpoint", "correlation", held | {"checkpoint": "gpt2--step-0000"}),
        ("compare with a run of the same examples", "compare", held | {"second": SECOND}),
        ("mechanism, its monitoring", "mechanism", held | {"part": "monitoring"}),
        ("learn, the null and its still effect", "learn", {"step": "5", "null_run": path.name}),
        ("learn, the contest with the output", "learn", {"step": "6", "lookalike_run": path.name}),
        ("examples, at the end", "examples", held | {"sort": "shift"}),
    ]  # fmt: skip


def twice(path: Path, folder: Path) -> Path:
    """The folder, with the run in it and a second one of the same files."""
    for name in (path.name, SECOND):
        shutil.copytree(path.resolve(), folder / name, copy_function=same_file)
    return folder


def same_file(source: str, target: str) -> None:
    """A second name of a file, or a copy on another disk. A run may not hold symbolic links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def browse(path: Path) -> tuple[dict[str, tuple[float, float]], float]:
    """Wall seconds and the server's processor seconds of each visit, in a new window each; its peak memory in MiB."""
    from tests.browser.chromium import launched
    from tests.browser.server import PATIENCE, server_process, serving, settled

    steps, found, peak = visits(path), {}, 0.0
    folder = tempfile.TemporaryDirectory()
    with folder, serving(twice(path, Path(folder.name))) as address, launched() as browser:
        server = server_process()
        for name, page_name, given in steps:
            page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
            page.set_default_timeout(PATIENCE)
            before, started = usage(server)[0], time.perf_counter()
            page.goto(f"{address}/{page_name}?{urllib.parse.urlencode({'run': path.name, **given})}")
            settled(page)
            if page_name == "examples":
                page.locator(".prompt").first.wait_for()
            elif page_name:
                page.locator(".js-plotly-plot").first.wait_for()
            wall = time.perf_counter() - started
            after, now, peak = usage(server)
            found[name] = (wall, after - before)
            if page.get_by_test_id("stException").count() + page.get_by_test_id("stAlertContentError").count():
                raise RuntimeError(f"{name}: {page.locator('[data-testid=stMain]').inner_text()[:600]}")
            line = f"{wall:6.1f} s, {after - before:5.1f} s on the server, {now:4.0f} MB, peak {peak:4.0f}: {name}"
            print(line, file=sys.stderr, flush=True)
            page.context.close()
    return found, peak


def browser_rows(path: Path) -> list[dict[str, Any]]:
    found, peak = browse(path)
    rows = []
    for name, (wall, cpu) in list(found.items())[:2]:
        note = f"from URL to drawn, Chromium; {cpu:.1f} s of processor time on the server"
        rows.append(row(name, [wall], [wall], None, note=note, theirs=None, ratio=None))
    first = next(iter(found.values()))[0]
    size = sum(path.joinpath(name).stat().st_size for name in ("examples.parquet", "explanations.parquet")) / 1e6
    note = f"theirs: the limit, 5% of that page; the two large parts have {size:,.0f} MB"
    hashes = row("hashes of parts, in the first page", [seconds_of_hashes(path)], [0.05 * first], 1.0, note=note)
    pages = "examples, overview, correlation, trajectory, compare, mechanism and learn"
    note = f"theirs: the limit; after {len(found)} visits of {pages}"
    memory = row("server memory at its peak", [peak], [MEMORY_LIMIT], 1.0, note=note, unit="MiB", threads=None)
    return [*rows, hashes, memory]


def rows() -> list[dict[str, Any]]:
    """Measured rows of the benchmark table."""
    with large_run() as path:
        return [*page_rows(path), *scatter_rows(), *browser_rows(path)]


if __name__ == "__main__":
    with large_run() as path:
        browse(path)
