"""A self-explaining model's curve over label noise: gathered from runs that differ in nothing else."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import style
from dashboard.reading import data
from dashboard.selection.state import Selection
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import about, show
from engine.config import RunSpec

HOW = (
    "A model that explains itself is trained anew for every level of noise, so nothing is refitted here. The curve "
    "gathers runs whose specs differ in `verbal: noise:` alone."
)


def kin(spec: RunSpec) -> dict[str, Any]:
    """What runs of one curve share: all of the spec that bears on their scores but the noise of their labels."""
    told = spec.model_dump(mode="json", exclude={"name", "note", "patching"})
    if told.get("verbal"):
        told["verbal"] |= {"noise": None, "keep_checkpoints": None}
    return told


def curve(selection: Selection, edit: str) -> pd.DataFrame:
    """Exact match at the selected checkpoint, one row a run of the curve, by rising noise; the columns of metrics."""
    mine = kin(data.spec(selection.path))
    paths = [e.path for e in data.runs() if e.state == "complete" and kin(data.spec(e.path)) == mine]
    found = [
        data.metrics(
            path, control=None, explainer="verbal", checkpoint=selection.checkpoint, split=selection.split, edit=edit
        )
        for path in paths
    ]
    rows = pd.concat(found) if found else pd.DataFrame({"noise": []})
    return rows.sort_values("noise", kind="stable").drop_duplicates("noise").reset_index(drop=True)


def noise_curve(selection: Selection, edit: str) -> None:
    """The figure, or what is missing for one."""
    st.info(HOW, icon=":material/database:")
    rows = curve(selection, edit)
    if len(rows) < 2:
        at = "" if rows.empty else f", at {rows['noise'].iloc[0]:.0%}"
        st.info(
            f"Only one such run is here{at}: make others with the same spec and another noise of the labels, in "
            "folders of their own."
        )
        return
    first, last = rows.iloc[0], rows.iloc[-1]
    copied = data.metrics(
        selection.path, control="copy", checkpoint=selection.checkpoint, split=selection.split, edit=edit
    )["self"].dropna()
    figure = charts.noise_curve(rows)
    figure.update_yaxes(title="exact match")
    if len(copied):
        figure.add_hline(
            y=float(copied.iloc[0]), line={"dash": "dashdot", "width": 1.5, "color": style.IN_WORDS["copy"].colour},
            annotation={"text": style.IN_WORDS["copy"].name, "font": {"color": style.IN_WORDS["copy"].colour}},
        )  # fmt: skip
    show(
        figure, key="robustness", path=selection.path,
        about=about(selection, n=int(first["n"]), n_groups=int(first["n_groups"]), note=f"{edit}, {len(rows)} runs"),
        alt=f"Self and Orig exact match against the share of shuffled labels: Self {charts.number(first['self'])} at "
        f"{first['noise']:.0%} and {charts.number(last['self'])} at {last['noise']:.0%}.",
        table=rows[["noise", "self", "self_low", "self_high", "orig", "orig_low", "orig_high", "gap", "n"]],
    )  # fmt: skip
    levels = ", ".join(f"{row['noise']:.0%}: {charts.interval(row['self'], row['self_low'], row['self_high'])}"
                       for row in rows.to_dict("records"))  # fmt: skip
    st.markdown(markdown_escaped(f"Self by share of shuffled labels: {levels}."))
