"""The page Study: which study, how much of it is there, its map, its verdicts with their power."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard.reading import data
from dashboard.selection.state import problem
from dashboard.study.cells import CLAIMS, FILE, NUMBERS, last_rows, read, studies, summary
from dashboard.study.figure import small_multiples
from dashboard.text import bracketed, markdown_escaped, shown, signed
from dashboard.widgets import figures, parts
from dashboard.widgets.figures import choose
from engine.runs.store import RunError

HALF = ":material/hourglass_bottom:"
WIDE = "<style>.st-key-study_frame { overflow-x: auto; } .st-key-study_frame > div { min-width: 44rem; }</style>"
"""On a phone the map scrolls sideways; squeezed, its three panels would lie on each other."""


def page() -> None:
    st.caption("A study makes the same run over seeds and settings: what holds in every row holds beyond one draw.")
    found = studies(data.directories())
    if not found:
        st.info("There is no study here yet. The command below makes one; it goes on where it was stopped.")
        st.code("coupling study SPEC.study.yml --out runs/studies/mine", language=None)
        return
    name = choose("Study", "study", {key: shown(key) for key in found}, next(iter(found)))
    try:
        rows = last_rows(read(found[name]))
    except RunError as error:
        problem(str(error))
        return
    if rows.empty:
        st.info("No cell of this study is finished yet.")
        return
    draw(found[name], rows)


def draw(folder: Path, rows: pd.DataFrame) -> None:
    """The map and the table of a study's finished cells."""
    table = summary(rows)
    if not (folder / FILE).exists():
        st.warning("Half run: the study has not come to its end. Shown are the seeds that are done.", icon=HALF)
    half = table[table["missing"] > 0]
    if len(half):
        names = "; ".join(
            f"{name} ({missing} missing)" for name, missing in zip(half["name"], half["missing"], strict=True)
        )
        st.warning(
            f"Half run, or made so: {len(half)} of {len(table)} settings have fewer seeds than the others: "
            f"{markdown_escaped(names)}. Their means and verdicts may still change.",
            icon=HALF,
        )
    seeds = rows["seed"].nunique()
    st.markdown(f"**{len(rows)} results**: {len(table)} settings on {seeds} {'seed' if seeds == 1 else 'seeds'}.")
    alt = f"For each of {len(table)} settings: Self, gap and unseen of every seed, and their mean; numbers in the table"
    st.html(WIDE)
    with st.container(key="study_frame"):
        figures.chart(small_multiples(rows, table), key="study_map", config={"displaylogo": False}, alt=alt)
    cells = readable(table)
    st.dataframe(cells, hide_index=True, alt="Means over seeds with their intervals, verdicts and power")
    parts.downloads(table, f"study-{folder.name}", "study")
    parts.small_print(
        f"{folder} · the chosen setting of each cell, at its last checkpoint, on held-out groups · means over seeds "
        "are random-effects means. Power: how likely the seeds' runs were to show an effect of the size that matters; "
        "where it is low, “not shown” says little."
    )


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """The table as it is read: numbers with their intervals, verdicts beside their power."""
    out = pd.DataFrame({"Setting": [shown(name) for name in table["name"]], "Seeds": table["seeds"]})
    for column, title in NUMBERS.items():
        ends = table[[column, f"{column}_low", f"{column}_high"]].itertuples(index=False)
        out[title] = [f"{signed(mean)} {bracketed(low, high)}".strip() for mean, low, high in ends]
    for claim in CLAIMS:
        powers = table[f"power_{claim}"]
        said = [
            f"{v}" if p != p else f"{v} (power {p:.2f})" for v, p in zip(table[f"verdict_{claim}"], powers, strict=True)
        ]
        out[claim.capitalize()] = [shown(text) for text in said]
    return out
