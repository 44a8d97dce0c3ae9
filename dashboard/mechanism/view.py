"""The page Mechanism: maps of the run with their agreement, one example token by token, monitoring."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.mechanism import Column, MapCorrelation, agreements, patch_maps
from dashboard.mechanism import maps
from dashboard.mechanism.monitoring import monitor
from dashboard.mechanism.one_example import TITLES, one_example
from dashboard.reading import chosen, data
from dashboard.selection.state import Selection
from dashboard.text import markdown_escaped, shown
from dashboard.widgets.figures import choose, is_dark, show, tabs
from dashboard.widgets.parts import small_print
from engine.patching.maps import ALL, BEFORE, REGIONS

SCALES = {"share": "share of the total change", "nats": "nats, mean size"}
NAMES = {
    "": "explanation and behavior",
    "beyond the output": "what the explanation says beyond f(x)",
    "shuffled labels": "probes on shuffled labels",
    "another example": "another example's explanation",
    "positions permuted": "positions permuted",
}
"""Controls of the agreement of both maps, as `engine.patching.maps.CONTROLS`: name → label."""
OWN_WORDS = (
    " The explanation is which answer the model would rather say after the question: log p of answer a less that of "
    "answer b. At the first checkpoint it has not learnt to explain itself: its map there is one more control."
)
HELP = (
    "Each example has two maps: the effect of each patch on f, and on the explanation. r is their correlation over "
    "regions and layers below the one that the explainer reads, averaged over examples, with a two-way bootstrap "
    "interval. Controls that are drawn at random have a mean and a 95% band."
)


PARTS = {"maps": "Maps", "example": "One example, token by token", "monitoring": "Monitoring without edits"}


def page(selection: Selection) -> None:
    part, s = tabs(PARTS), selection
    if part == "maps":
        return run_maps(selection)
    if part == "example":
        return one_example(selection)
    measured = data.metrics(s.path, control=None, explainer=s.explainer, split=s.split, condition=s.condition)
    return monitor(s, s.edit or chosen.default_edit(measured) or s.options.edits[0])


def run_maps(selection: Selection) -> None:
    """The maps that the run holds, or how to make them."""
    known = maps.agreement(selection.path)
    if known.empty:
        how_to_make_maps(selection)
        return
    edits = list(known["edit"].drop_duplicates())
    edit = str(selection.edit if selection.edit in edits else edits[0])
    if selection.edit not in (None, edit):
        st.caption(f"Maps were made of {_list(edits)}: shown is {markdown_escaped(edit)}.")
    there = list(known["checkpoint"].drop_duplicates())
    checkpoint = selection.checkpoint if selection.checkpoint in there else there[-1]
    if checkpoint != selection.checkpoint:
        st.info(f"Maps were made at {_list(there)}; shown is {markdown_escaped(checkpoint)}.", icon=":material/info:")
    mine = known[(known["checkpoint"] == checkpoint) & (known["edit"] == edit)]
    both_maps(selection, checkpoint, edit, mine.iloc[0])
    agreement(selection, mine)
    over_checkpoints(known[(known["edit"] == edit) & known["control"].isna()])


def _list(names: list[str]) -> str:
    return ", ".join(markdown_escaped(name) for name in names)


def how_to_make_maps(selection: Selection) -> None:
    st.info("This run has no patching maps yet.", icon=":material/grid_off:")
    verbal = data.spec(selection.path).verbal
    if not verbal and "ridge" not in selection.options.explainers:
        st.caption("They need a frozen ridge that reads h(x), or a model that explains itself; this run has neither.")
        return
    if verbal and not verbal.keep_checkpoints:
        st.caption("This run kept no weights to patch. Made again with this in its spec, it makes the maps itself:")
        st.code("patching: {}", language="yaml")
        return
    st.write("They are made from the run's checkpoints and added to it, in a minute or two for a small model:")
    st.code(f"coupling patch {shown(selection.path)}", language="bash")
    st.caption(f"Under “{PARTS['example']}” one can be patched at once, where the checkpoints are on this disk.")


def both_maps(selection: Selection, checkpoint: str, edit: str, about: pd.Series) -> None:
    """Behavior and explanation side by side. about: a row of `maps.agreement`."""
    table = maps.restored(selection.path, checkpoint, edit)
    help_line = (
        "Share: the part of the change from x to x′ that the patch brings about, over examples (1: all of it). "
        "Nats: the mean size of the patch's effect."
    )
    scale = choose("Scale", "scale", SCALES, "share", widget="segments", help=help_line)
    names = ("behavior", "explanation") if scale == "share" else ("behavior_nats", "explanation_nats")
    grids = [table.pivot_table(index="layer", columns="region", values=n, sort=False, observed=True) for n in names]
    filled = table.groupby("region", sort=False)[["behavior_nats", "explanation_nats"]].sum().sum(axis=1) > 0
    regions = [r for r in REGIONS if r in grids[0].columns and (filled.get(r, False) or r in (BEFORE, ALL))]
    values = [grid.sort_index().reindex(columns=regions).to_numpy(np.float64, copy=True) for grid in grids]
    layers = sorted(int(layer) for layer in grids[0].index)
    values[1][[layer > int(about["probe_layer"]) for layer in layers]] = np.nan
    columns = [Column(region, maps.GROUP_OF[region]) for region in regions]
    in_words = about["explainer"] == "verbal"
    explainer = "the model's own words" if in_words else f"frozen {about['explainer']} at layer {about['probe_layer']}"
    unit, limit = ("of the change", 1.0) if scale == "share" else ("nats", None)
    figure = patch_maps(columns, layers, list(zip(TITLES, values, strict=True)), unit=unit, limit=limit, dark=is_dark())
    origin = f"{about['split']} · n = {about['n']:,} · {about['n_groups']:,} groups · {edit}, {checkpoint}, {explainer}"
    alt = (
        f"Two heatmaps over layers and regions of the prompt, {SCALES[scale]}. Behavior is restored most at "
        f"{_most(values[0], layers, regions)}, the explanation at {_most(values[1], layers, regions)}. The table has "
        "all numbers."
    )
    shown_rows = table[table["region"].isin(regions)]
    show(figure, key="patching", path=selection.path, about=origin, alt=alt, table=shown_rows)
    st.caption(
        "States of the run on x′ are put into the run on x, one region of positions and one layer at a time. Blue: "
        "the patch moves the score towards x′. A cell without a number is near 0; before the edit both runs are the "
        "same, so nothing can change there. If x and x′ have different numbers of tokens, the edit gets the mean state "
        "of the tokens in its place (after a deletion, of the token before it), and all positions together may not "
        "bring about the whole change. "
        "Empty: layers above the one that the explainer reads." + (OWN_WORDS if in_words else "")
    )


def _most(values: np.ndarray, layers: list[int], regions: list[str]) -> str:
    """The cell of the largest size among single regions, in words."""
    single = [i for i, region in enumerate(regions) if region not in (BEFORE, ALL)]
    part = np.abs(np.nan_to_num(values[:, single]))
    if not part.size or not part.any():
        return "no place"
    layer, region = np.unravel_index(part.argmax(), part.shape)
    at = single[int(region)]
    return f"layer {layers[int(layer)]}, {regions[at]} ({values[layer, at]:+.2f})"


def agreement(selection: Selection, rows: pd.DataFrame) -> None:
    """The correlation of both maps beside its controls."""
    st.subheader("Are these the same places?", divider="grey")
    found = by_control(rows)
    if np.isnan(found[""]["r"]):
        st.info("Too few cells count here for a correlation: the explainer reads too low a layer.")
        return
    drawn = [
        MapCorrelation(NAMES[name], row["r"], row["low"], row["high"], not np.isnan(row["draws"]), name != "")
        for name, row in found.items()
        if not np.isnan(row["r"])
    ]
    own, sentence = rows.iloc[0], agreement_sentence(found)
    st.markdown(f"**{markdown_escaped(sentence)}**", help=HELP)
    table = rows.assign(what=[NAMES[c] for c in rows["control"].fillna("")])
    table = table[["what", "r", "low", "high", "draws", "n", "n_groups"]]
    groups, draws = f"{own['n_groups']:,} groups", f"{int(rows['draws'].max()):,} draws"
    origin = f"{own['split']} · n = {own['n']:,} · {groups} · 95% intervals; bands of {draws}"
    show(agreements(drawn), key="agreement", path=selection.path, about=origin, alt=sentence, table=table)
    look_at = "at probes on shuffled labels and " if "shuffled labels" in found else ""
    st.caption(
        "Agreement alone is cheap. Everything that reaches the last token has come the same way, and an explanation "
        f"that reads the present output shares its places with it. So look {look_at}at the agreement beyond f(x). "
        "Patching shows where information passes, not that one circuit serves both."
    )


def by_control(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """r, low, high and draws of the explanation ("") and of each control, in the order of `NAMES`; NaN where none."""
    columns = rows[["r", "low", "high", "draws"]].astype(np.float64)
    numbers = dict(zip(rows["control"].fillna(""), columns.to_dict("records"), strict=True))
    return {name: numbers[name] for name in NAMES if name in numbers}


def agreement_sentence(found: dict[str, dict[str, float]]) -> str:
    """The correlation and its controls in words, without a claim beyond them."""

    def told(name: str) -> str:
        return charts.interval(*(found[name][c] for c in ("r", "low", "high")), sign=True)

    text = f"Both maps correlate by r = {told('')}."
    bands = [n for n, row in found.items() if not np.isnan(row["draws"]) and not np.isnan(row["r"])]
    reached = [NAMES[n] for n in bands if not found[""]["low"] > found[n]["high"]]
    if reached:
        text += f" It is not clear of {' and '.join(reached)}: no places of the explanation's own are shown."
    elif bands:
        text += " It lies above the bands of all controls that are drawn at random."
    if not np.isnan(found.get("beyond the output", {}).get("r", np.nan)):
        text += f" For the explanation beyond f(x): {told('beyond the output')}."
    return text


def over_checkpoints(rows: pd.DataFrame) -> None:
    """The correlation at every checkpoint that has maps, in a line."""
    if len(rows) > 1:
        told = [
            f"{row['checkpoint']} {charts.interval(row['r'], row['low'], row['high'], sign=True)}"
            for row in rows.sort_values("step").to_dict("records")
        ]
        small_print("At the checkpoints with maps: " + "; ".join(told))
