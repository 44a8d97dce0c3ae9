"""Monitoring without edits: whether the explainer tells at which checkpoints and in which slices effects have moved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.charts.mechanism import shifts as drawn
from dashboard.reading import data
from dashboard.reading.agreement import resamples
from dashboard.reading.data import Setting
from dashboard.reading.tables import cached_per_run
from dashboard.selection import on_screen
from dashboard.selection.state import Selection
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import about, choose, show
from engine.stats import monitoring
from engine.stats.monitoring import Detection

DRAWS, MANY, DRAWS_OF_MANY = 500, 20_000, 200
"""Bootstrap draws, and the fewer draws for more than `MANY` examples, which take the same memory."""
THRESHOLDS = {"0.25": "0.25 nats", "0.5": "0.5 nats", "1": "1 nat"}


@cached_per_run(st.cache_data, max_entries=16, show_spinner="Slicing all checkpoints")
def _detect(
    path: Path, settings: tuple[Setting, ...], split: str, edit: str, threshold: float
) -> tuple[pd.DataFrame, Detection, int, int] | None:
    """Shifts of slices (without draws), their detection, and the numbers of groups and of draws; None if there is
    nothing to watch. Many examples are replaced by a seeded sample, the same at every checkpoint."""
    frames = [on_screen.measured(data.explanations(path, setting, split, edit)) for setting in settings]
    ids = [frame["example_id"].tolist() for frame in frames]
    if len(frames) < 2 or not ids[0] or any(own != ids[0] for own in ids):
        return None
    if any(frame["explanation"].isna().any() for frame in frames):  # in words, not in nats
        return None
    first = frames[0]
    columns = {"effects": "effect_current", "f": "f_current", "said": "explanation"}
    arrays = {
        key: {s.checkpoint: frame[column].to_numpy(np.float64) for s, frame in zip(settings, frames, strict=True)}
        for key, column in columns.items()
    }
    watched, slices = monitoring.watch(first, **arrays)
    weights = resamples(first, DRAWS if len(first) <= MANY else DRAWS_OF_MANY, data.spec(path).metrics.seed)
    found = monitoring.shifts(watched, slices, weights)
    return found.table, monitoring.detect(found, threshold), weights.n_groups, len(weights.weights)


def monitor(selection: Selection, edit: str) -> None:
    """The section: predicted against measured shifts, the detection curve, and its baseline."""
    st.write(
        "At a new checkpoint the explainer is asked about the prompts alone; no edit is run. Does the shift that it "
        "predicts for a slice tell where the effect has really moved?"
    )
    s = selection
    settings = tuple(Setting(c, s.explainer, s.regime, condition=s.condition) for c in s.options.checkpoints)
    label = "An event is a measured shift above"
    help_line = "The shift of a slice's mean effect Δ between the first checkpoint and a later one."
    threshold = float(choose(label, "event", THRESHOLDS, "0.5", widget="segments", help=help_line))
    found = _detect(s.path, settings, s.split, edit, threshold)
    if found is None:
        st.info(
            "There is nothing to watch: a single checkpoint, explanations that were not kept for all of them, or "
            "explanations in words."
        )
        return
    table, detection, n_groups, draws = found
    sentence, n = detection_sentence(detection), int(table["n"].max())
    note = f"{edit}, {s.explainer}, {s.regime}, {draws} draws"
    st.markdown(f"**{markdown_escaped(sentence)}**")
    figure, origin = drawn(table, threshold, detection.curves), about(selection, n=n, n_groups=n_groups, note=note)
    alt = f"Predicted against measured shift of {detection.pairs} slices and checkpoints, and detection curves. "
    show(figure, key="monitoring", path=selection.path, about=origin, alt=alt + sentence, table=table)
    if n == on_screen.MEASURED:
        st.caption(f"These numbers come from a seeded sample of {n:,} of the examples, the same at each checkpoint.")
    st.caption(
        "Slices: all examples, and each value of their metadata; they overlap, so pairs are not independent. "
        "Intervals: slices and checkpoints drawn anew, each by itself. Area: the chance that a pair with an event "
        "scores above a pair without one; 0.5 is guessing. The baseline is the drift of the mean f(x), which needs no "
        "edits and no explainer."
    )


def detection_sentence(found: Detection) -> str:
    """The detection and its baseline, in words."""
    head = f"{found.events} of {found.pairs} pairs of slice and checkpoint moved by more than {found.threshold:g} nats."
    if np.isnan(found.values["area"][0]):
        return f"{head} Without both kinds there is nothing to tell apart."

    def told(name: str, sign: bool = False) -> str:
        return charts.interval(*found.values[name], sign=sign)

    low, high = found.values["area_difference"][1:]
    better = "better than" if low > 0 else "worse than" if high < 0 else "not clearly better or worse than"
    return (
        f"{head} The predicted shift finds them with an area of {told('area')}, {better} the baseline, the drift of "
        f"f(x) ({told('area_baseline')}; difference {told('area_difference', True)}). With their signs, predicted and "
        f"measured shifts correlate by {told('r', True)}, minus the drift by {told('r_baseline', True)}."
    )
