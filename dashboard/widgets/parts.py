"""Pieces that pages share: downloads, provenance, an estimate with its help line."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.text import escaped

MOST_ROWS = 500_000
"""That a browser saves: a table is made in the server's memory first."""


def downloads(
    frame: pd.DataFrame | Callable[[], pd.DataFrame], name: str, key: str, *, rows: int | None = None
) -> None:
    """What is on screen as CSV and as Parquet; made only when asked for.

    name: of the file, without its ending. rows: how many it will have, where it is not made yet; too many are refused
    in words. CSV cells that a spreadsheet would run as a formula get an apostrophe.
    """
    if rows is not None and rows > MOST_ROWS:
        st.caption(
            f"{rows:,} rows are too many to save from a browser ({MOST_ROWS:,} at most): narrow the slice, or read the "
            "run's own Parquet files."
        )
        return

    def table() -> pd.DataFrame:
        return frame() if callable(frame) else frame

    def as_csv() -> bytes:
        return harmless(table()).to_csv(index=False).encode()

    def as_parquet() -> bytes:
        buffer = io.BytesIO()
        table().to_parquet(buffer, index=False)
        return buffer.getvalue()

    kinds = (("CSV", as_csv, "csv", "text/csv"), ("Parquet", as_parquet, "parquet", "application/vnd.apache.parquet"))
    with st.container(horizontal=True):
        for label, made, ending, kind in kinds:
            # A rerun on the click would forget the file before the browser has fetched it.
            st.download_button(
                label,
                made,
                f"{name}.{ending}",
                kind,
                key=f"{key}_{ending}",
                icon=":material/download:",
                on_click="ignore",
            )


def harmless(frame: pd.DataFrame) -> pd.DataFrame:
    """Text cells that begin like a formula (= + - @, tab, return) with an apostrophe before them."""

    def guarded(cell: object) -> object:
        return f"'{cell}" if isinstance(cell, str) and cell[:1] in "=+-@\t\r" and cell else cell

    texts = frame.select_dtypes(exclude="number").columns
    return frame.assign(**{c: frame[c].map(guarded) for c in texts})


def provenance(path: Path, *, extra: str = "") -> None:
    """The small print under a figure: where its numbers come from."""
    about = data.manifest(path)
    origin = about["provenance"]
    commit = origin.get("git_commit")
    pieces = [
        extra,
        f"run {about['spec']['name']}, content {data.content_hash(path)}",
        f"code {commit[:10]}" if commit else "",
        f"seed {about['spec']['seed']}",
        about["spec"]["note"],
    ]
    small_print(" · ".join(piece for piece in pieces if piece))


def small_print(text: str) -> None:
    """Plain text in small grey type; nothing in it is markup."""
    st.html(f'<p style="font-size: 0.82rem; opacity: 0.72; margin: 0; line-height: 1.5">{escaped(text)}</p>')
