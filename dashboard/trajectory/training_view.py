"""An explainer watched while it trains: a button, a progress bar, and Self, Orig and gap by its own training step."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts import Series, style
from dashboard.charts.style import Look
from dashboard.reading import chosen, data
from dashboard.refit import cached
from dashboard.selection.state import Selection
from dashboard.text import markdown_escaped
from dashboard.trajectory.training_curve import KINDS, Asked, curves, trained
from dashboard.widgets.figures import about, choose, several, show

PANELS = {"self": "Self", "orig": "Orig", "gap": "gap"}


def training_section(selection: Selection, edit: str) -> None:
    """Train when asked; a curve that was trained before is shown at once."""
    st.caption(
        "Does faithfulness rise while an explainer trains? The run keeps trained explainers only, so one is trained "
        "again here: at the first checkpoint, on the run's fixed targets. It is then asked about every checkpoint."
    )
    first = selection.options.checkpoints[0]
    kept = cached.layers(selection.path, first)
    if not kept:
        st.info("This run keeps no hidden states, so nothing can be trained here. Make it with hidden: keep: prompts.")
        return
    left, right = st.columns([1, 2])
    with left:
        default = selection.explainer if selection.explainer in KINDS else KINDS[0]
        help_line = "A ridge is solved at once and has no training steps."
        kind = choose("Explainer to train", "train", {k: k for k in KINDS}, default, help=help_line)
    asked = _asked(selection, kind, edit, kept)
    steps = {c: f"step {selection.options.steps[c]}" for c in selection.options.checkpoints}
    with right:
        help_line = "While it trains, its explanations are compared with the effects at each of these."
        own = [first, selection.checkpoint]
        picked = several("Asked about the checkpoints", "asked_about", steps, own, help=help_line)
    found = _curve(asked, data.stamp(selection.path))
    if found is not None and picked:
        _draw(selection, asked, found, {name: steps[name] for name in picked})


def _asked(selection: Selection, kind: str, edit: str, kept: tuple[int, ...]) -> Asked:
    """Layer and weight decay as the run's cross-validation chose them for this kind, where it did."""
    wanted = {"explainer": kind, "regime": "frozen", "split": selection.split, "edit": edit, "noise_kind": "none"}
    rows = data.metrics(selection.path, control=None, condition=None, **wanted)
    own = chosen.best(chosen.for_layer(rows[rows["layer"].isin(kept)], selection.layer))
    if len(own):
        layer, decay = int(own["layer"].iloc[0]), own["penalty"].iloc[0]
    else:
        layer, decay = selection.layer if selection.layer in kept else kept[-1], None
    spec = data.spec(selection.path).explainers
    decay = spec.weight_decays[0] if decay is None or pd.isna(decay) else decay
    return Asked(selection.path, kind, edit, selection.split, int(layer), float(decay))


def _curve(asked: Asked, stamp: str) -> pd.DataFrame | None:
    if (asked, stamp) in curves():
        return curves()[asked, stamp]
    spot = st.empty()
    if not spot.button("Train it again and watch", icon=":material/play_arrow:", key="train_again"):
        return None
    bar = spot.progress(0.0, f"Training a {asked.kind} explainer at layer {asked.layer}")
    found = trained(asked, stamp, bar.progress)
    spot.empty()
    return found


def _draw(selection: Selection, asked: Asked, found: pd.DataFrame, steps: dict[str, str]) -> None:
    """steps: checkpoint → its name at the lines' ends."""
    series = []
    for i, (name, step) in enumerate(steps.items()):
        rows = found[found["checkpoint"] == name]
        look = Look(step, style.CATEGORICAL[i % 8], style.SYMBOLS[i % 8], style.DASHES[i % 6])
        series += [Series(rows, column, step, look, panel) for panel, column in enumerate(PANELS, 1)]
    sentence = " ".join(curve_sentence(found[found["checkpoint"] == name], step) for name, step in steps.items())
    spec = data.spec(selection.path)
    n, n_groups = (int(found[c].iloc[0]) for c in ("n", "n_groups"))
    note = (
        f"refitted here: {asked.kind}, layer {asked.layer}, weight decay {asked.weight_decay:g}, mean of "
        f"{spec.explainers.seeds} initialisations, {asked.edit}; bands 95% bootstrap by group"
    )
    figure = charts.trajectory(
        series,
        x="training_step",
        x_title="training step of the explainer (log scale)",
        panels=tuple(PANELS.values()),
        height=720,
        log_x=True,
        absent_within=spec.metrics.absent_within,
    )
    origin = about(selection, n=n, n_groups=n_groups, note=note)
    alt = f"Self, Orig and gap of a {asked.kind} explainer by its own training step. {sentence}"
    table = found[found["checkpoint"].isin(steps)]
    show(figure, key="own_steps", path=selection.path, about=origin, alt=alt, table=table)
    st.markdown(markdown_escaped(sentence))
    st.caption(
        "Each line is the same explainer, asked about another checkpoint of the drifting model. If Self goes on rising "
        "at the first checkpoint but falls at a later one, the rest of the training fitted the first only."
    )


def curve_sentence(rows: pd.DataFrame, name: str) -> str:
    """Self at the first and last training step, and where it is highest; rows of one checkpoint."""
    rows = rows.sort_values("training_step")
    start, best, end = (rows.iloc[i] for i in (0, int(rows["self"].fillna(-2).to_numpy().argmax()), -1))

    def at(row: pd.Series) -> str:
        return charts.interval(row["self"], row["self_low"], row["self_high"])

    text = f"At {name}: Self {at(start)} after {int(start['training_step'])} of its steps"
    if best["training_step"] not in (start["training_step"], end["training_step"]):
        text += f", highest after {int(best['training_step'])}: {at(best)}"
    return f"{text}, {at(end)} after {int(end['training_step'])}."
