"""What the page Mechanism draws: both maps of a run with their agreement, and one example token by token."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.mechanism import Column, MapCorrelation, agreements, patch_maps
from dashboard.mechanism import maps as mechanism
from dashboard.mechanism.maps import ExampleMap
from dashboard.reading import data, models, moves
from dashboard.reading.example_rows import example
from dashboard.refit import new_prompts
from dashboard.selection.resolve import with_changes
from dashboard.selection.state import Selection, problem
from dashboard.text import diff, markdown_escaped, shown, visible
from dashboard.widgets.example_view import PAGE as EXAMPLES_PAGE
from dashboard.widgets.figures import choose, show
from dashboard.widgets.parts import small_print
from engine.config import InputError
from engine.patching.maps import ALL, BEFORE, REGIONS

SCALES = {"share": "share of the total change", "nats": "nats, mean size"}
TITLES = ("Behavior f", "Explanation")
NAMES = {
    "": "explanation and behavior",
    "beyond the output": "what the explanation says beyond f(x)",
    "shuffled labels": "probes on shuffled labels",
    "another example": "another example's explanation",
    "positions permuted": "positions permuted",
}
WORDS = (
    " The explanation is what the model would rather say after the question: log p of answer a less that of answer b. "
    "At the first checkpoint it has not learnt to explain itself: its map there is one more control."
)
HELP = (
    "Each example has two maps: what a patch does to f, and what it does to the explanation. r is their correlation "
    "over regions and layers below the one that the explainer reads, averaged over examples, with a two-way bootstrap "
    "interval. Controls that are drawn at random have a mean and a 95% band."
)


def run_maps(selection: Selection) -> None:
    """The maps that the run holds, or how to make them."""
    known = mechanism.agreement(selection.path)
    if known.empty:
        empty(selection)
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
    maps(selection, checkpoint, edit, mine.iloc[0])
    agreement(selection, mine)
    over_checkpoints(known[(known["edit"] == edit) & known["control"].isna()])


def _list(names: list[str]) -> str:
    return ", ".join(markdown_escaped(name) for name in names)


def empty(selection: Selection) -> None:
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
    st.caption("Below, one example at a time can be patched at once, where the checkpoints are on this disk.")


def maps(selection: Selection, checkpoint: str, edit: str, about: pd.Series) -> None:
    """Behavior and explanation side by side."""
    table = mechanism.restored(selection.path, checkpoint, edit)
    scale = choose(
        "Scale", "scale", SCALES, "share", widget="segments",
        help="Share: how much of the change from x to x′ the patch brings about, over examples (1: all of it). "
        "Nats: the mean size of what the patch does.",
    )  # fmt: skip
    names = ("behavior", "explanation") if scale == "share" else ("behavior_nats", "explanation_nats")
    grids = [table.pivot_table(index="layer", columns="region", values=n, sort=False, observed=True) for n in names]
    filled = table.groupby("region", sort=False)[["behavior_nats", "explanation_nats"]].sum().sum(axis=1) > 0
    regions = [r for r in REGIONS if r in grids[0].columns and (filled.get(r, False) or r in (BEFORE, ALL))]
    values = [grid.sort_index().reindex(columns=regions).to_numpy(np.float64, copy=True) for grid in grids]
    layers = sorted(int(layer) for layer in grids[0].index)
    values[1][[layer > int(about["probe_layer"]) for layer in layers]] = np.nan
    columns = [Column(mechanism.label_of(region), mechanism.group_of(region) or "all") for region in regions]
    unit = "of the change" if scale == "share" else "nats"
    show(
        patch_maps(columns, layers, list(zip(TITLES, values, strict=True)), unit=unit,
                   limit=1.0 if scale == "share" else None),
        key="patching", path=selection.path,
        about=f"{about['split']} · n = {about['n']:,} · {about['n_groups']:,} groups · {edit}, {checkpoint}, "
        + explainer_of(about),
        alt=f"Two heatmaps over layers and regions of the prompt, {SCALES[scale]}. Behavior is restored most at "
        f"{_most(values[0], layers, regions)}, the explanation at {_most(values[1], layers, regions)}. The table has "
        "all numbers.",
        table=table[table["region"].isin(regions)],
    )  # fmt: skip
    st.caption(
        "States of the run on x′ are put into the run on x, one region of positions and one layer at a time. Blue: the "
        "patch moves the score towards x′. Before the edit both runs are the same, so nothing can change there. Where "
        "x′ has other numbers of tokens than x, the edit gets the mean state of what stands in its place, after a "
        "deletion that of the token before it; so all positions together may not bring about the whole change. "
        "Empty: layers above the one that the explainer reads." + (WORDS if about["explainer"] == "verbal" else "")
    )


def explainer_of(about: pd.Series) -> str:
    """Whose explanation the maps are of."""
    if about["explainer"] == "verbal":
        return "the model's own words"
    return f"frozen {about['explainer']} at layer {about['probe_layer']}"


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
    own = rows.iloc[0]
    st.markdown(f"**{markdown_escaped(in_words(found))}**", help=HELP)
    table = rows.assign(what=[NAMES[c] for c in rows["control"].fillna("")])
    show(
        agreements(drawn), key="agreement", path=selection.path,
        about=f"{own['split']} · n = {own['n']:,} · {own['n_groups']:,} groups · 95% intervals; bands of "
        f"{int(rows['draws'].max()):,} draws",
        alt=in_words(found), table=table[["what", "r", "low", "high", "draws", "n", "n_groups"]],
    )  # fmt: skip
    look_at = "at probes on shuffled labels and " if "shuffled labels" in found else ""
    st.caption(
        "Agreement alone is cheap: whatever reaches the last token has come the same way, and an explanation that "
        f"reads the present output shares its places with it. So look {look_at}at what is left beyond f(x). Patching "
        "shows where information passes, not that one circuit serves both."
    )


def by_control(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """r, low, high and draws of the explanation ("") and of each control, in the order of `NAMES`; NaN where none."""
    names = rows["control"].fillna("").tolist()
    columns = {c: rows[c].to_numpy(np.float64, na_value=np.nan) for c in ("r", "low", "high", "draws")}
    return {n: {c: float(values[names.index(n)]) for c, values in columns.items()} for n in NAMES if n in names}


def in_words(found: dict[str, dict[str, float]]) -> str:
    """What the correlation and its controls say, and no more."""

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
        text += f" Of what the explanation says beyond f(x): {told('beyond the output')}."
    return text


def over_checkpoints(rows: pd.DataFrame) -> None:
    """The correlation at every checkpoint that has maps, in a line."""
    if len(rows) > 1:
        told = [
            f"{row['checkpoint']} {charts.interval(row['r'], row['low'], row['high'], sign=True)}"
            for row in rows.sort_values("step").to_dict("records")
        ]
        small_print("At the checkpoints with maps: " + "; ".join(told))


def one_example(selection: Selection) -> None:
    """An example patched token by token when asked for."""
    st.subheader("One example, token by token", divider="grey")
    offered = moves.candidates(selection.path, selection.setting, selection.split, selection.edit)
    titles = dict(zip(offered["example_id"], offered["title"], strict=True))
    if selection.example and selection.example not in titles:
        titles = {selection.example: selection.example} | titles
    if not titles:
        st.info("No explanations were kept for this setting: choose another explainer, edit or split.")
        return
    start = selection.example or next(iter(titles))
    identity = choose(
        "Example", "patched", titles, start,
        help="Offered: those whose effect moved most from the target to the current checkpoint. Type to search.",
    )  # fmt: skip
    row = example(selection.path, selection.setting, identity)
    if row is None:
        st.info(f"This run has no example {markdown_escaped(identity)}.")
        return
    st.html(diff(row["prompt"], row["edited"]))
    absent = models.missing(selection.path, selection.checkpoint)
    if absent is not None:
        st.warning(markdown_escaped(absent[0]), icon=":material/folder_off:")
    if not new_prompts.choices(selection.path) and not mechanism.in_words(selection.path):
        st.caption(new_prompts.why_none(selection.path))
    key = (selection.run.key, selection.checkpoint, identity)
    if st.button(
        "Patch this example",
        icon=":material/grid_on:",
        key="patch_example",
        disabled=absent is not None and not absent[1],
    ):
        st.session_state["patched_example"] = key
    if st.session_state.get("patched_example") != key:
        return
    try:
        found = mechanism.example_map(selection.path, selection.checkpoint, row)
    except InputError as error:
        problem(str(error))
        return
    if models.is_as_measured(selection.path, selection.checkpoint) is False:
        st.warning(
            f"The checkpoint {markdown_escaped(selection.checkpoint)} on disk is not the one that this run measured: "
            "the map is of another model.",
            icon=":material/difference:",
        )
    draw_example(selection, found, identity)


def draw_example(selection: Selection, found: ExampleMap, identity: str) -> None:
    if not found.positions:
        st.info("The edit changes nothing that the model reads: there is nothing to patch.")
        return
    panels = [(TITLES[0], found.behavior)]
    if found.explanation is not None and found.probe_layer is not None:
        said = found.explanation.copy()
        said[found.probe_layer + 1 :] = np.nan
        panels.append((TITLES[1], said))
    every = zip(found.positions, found.tokens, found.groups, strict=True)
    columns = [Column(f"{position} {visible(token)}", group) for position, token, group in every]
    layers = list(range(len(found.behavior)))
    moved = "" if found.moved is None else f"; the explanation moves by {charts.number(found.moved, sign=True)}"
    total = f"From x to x′ f moves by {charts.number(found.effect, sign=True)} nats{moved}."
    show(
        patch_maps(columns, layers, panels, unit="nats", own_scales=True), key="patched_tokens", path=selection.path,
        about=f"one example, {found.checkpoint}, each position patched by itself",
        alt=f"Heatmaps over layers and {len(found.tokens)} tokens of one example, in nats. {total}",
        table=mechanism.as_table(found).assign(token=lambda t: t["token"].map(shown)),
    )  # fmt: skip
    how = "token by token" if found.exact else "with the mean of what stands in its place (see above)"
    cut = f" The {found.left_out} tokens after the edit's start that do not fit are left out." if found.left_out else ""
    small_print(f"{total} The edit is patched {how}; tokens before it are the same in both runs.{cut}")
    if EXAMPLES_PAGE.exists():
        st.page_link(
            EXAMPLES_PAGE, label="Open on the page Examples", icon=":material/open_in_new:",
            query_params=with_changes(selection, example=identity),
        )  # fmt: skip
