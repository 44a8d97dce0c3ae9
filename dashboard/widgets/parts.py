"""Pieces that pages share: downloads, provenance, small print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.text import escaped

MOST_ROWS = 500_000
"""Rows that a browser may save; the server makes the table in memory first."""


def downloads(
    frame: pd.DataFrame | Callable[[], pd.DataFrame], name: str, key: str, *, rows: int | None = None
) -> None:
    """The table on the screen as CSV and as Parquet; made only when a button is clicked.

    name: of the file, without its ending. rows: the number of rows of a table that is not made yet; above `MOST_ROWS`
    it is refused in words. CSV cells that a spreadsheet would run as a formula get an apostrophe.
    """
    if rows is not None and rows > MOST_ROWS:
        st.caption(
            f"{rows:,} rows are too many to save from a browser ({MOST_ROWS:,} at most): narrow the slice, or read the "
            "run's own Parquet files."
        )
        return

    table = frame if callable(frame) else lambda: frame
    kinds = {
        "CSV": (lambda: harmless(table()).to_csv(index=False).encode(), "text/csv"),
        "Parquet": (lambda: table().to_parquet(index=False), "application/vnd.apache.parquet"),
    }
    with st.container(horizontal=True):
        for label, (made, kind) in kinds.items():
            ending = label.lower()
            # "ignore": a rerun on the click would forget the file before the browser has fetched it.
            look = {"key": f"{key}_{ending}", "icon": ":material/download:", "on_click": "ignore"}
            st.download_button(label, made, f"{name}.{ending}", kind, **look)


def harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """Put an apostrophe before text cells that begin like a formula (= + - @, tab, return)."""

    def guarded(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell.startswith(tuple("=+-@\t\r")) else cell

    texts = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{c: frame[c].map(guarded) for c in texts})


def provenance(path: Path, *, extra: str = "") -> None:
    """Where numbers come from, behind an icon: the run, its content hash, code, seed and note."""
    about = data.manifest(path)
    spec, commit = about["spec"], about["provenance"].get("git_commit")
    pieces = [extra, f"run {spec['name']}, content {data.content_hash(path)}", f"code {commit[:10]}" if commit else ""]
    with st.popover("Source", icon=":material/info:", type="tertiary", help="Where these numbers come from"):
        small_print(" · ".join(piece for piece in (*pieces, f"seed {spec['seed']}", spec["note"]) if piece))


def small_print(text: str) -> None:
    """Plain text in small grey type; nothing in it is markup."""
    st.html(f'<p style="font-size: 0.82rem; opacity: 0.72; margin: 0; line-height: 1.5">{escaped(text)}</p>')
