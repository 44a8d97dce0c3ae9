"""The ridge probe refitted live: sliders, the curve over noise, what breaks it, and predictions that changed sign."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.reading import data
from dashboard.refit import cached
from dashboard.robustness import noise_words
from dashboard.robustness.noise_words import KINDS
from dashboard.selection.state import Selection, bound, guarded
from dashboard.text import markdown_escaped
from dashboard.widgets.example_view import example_card
from dashboard.widgets.figures import about, choose, chosen, keep, show
from dashboard.widgets.parts import downloads

AXES = {"noise": "level of noise", "noisy_clean": "corr(noisy, clean targets)"}
AXES_HELP = (
    "At the same level, different kinds of noise spoil the targets by different amounts. The correlation of noisy with "
    "clean targets makes them comparable."
)
PERCENT, COUNT, SHORT = "{:.0%}".format, "{:,}".format, "{:g}".format
SETTINGS: dict[str, tuple[str, Callable[[Any], str]]] = {
    "kind": ("kind", str),
    "level": ("level", PERCENT),
    "layer": ("layer", str),
    "penalty": ("penalty", SHORT),
    "size": ("training examples", COUNT),
    "seeds": ("seeds", str),
}
"""Field of `cached.Sliders` → its name and how its value is written."""


def choose_kind() -> str:
    """The control for the kind of label noise."""
    hint = (
        "Shuffle: a share of the targets change places. Flip: a share change sign. Gaussian: noise is added; the level "
        "is its standard deviation relative to that of the targets."
    )
    return choose("Kind of label noise", "kind", KINDS, "shuffle", widget="segments", help=hint)


def slider(label: str, name: str, options: Sequence, default: object, help: str, text: Callable[[Any], str]) -> Any:
    """A slider over listed values, kept in the URL. It reports on release."""
    by_text = {text(o): o for o in options}
    first = text(default) if text(default) in by_text else next(iter(by_text))
    value = by_text[chosen(name, by_text, first)]
    if len(options) < 2:
        st.text_input(label, text(value), disabled=True, help=help)
        return value
    look: dict[str, Any] = {"key": f"option_{name}", "format_func": text, "help": help}
    return bound(st.select_slider, label, options, value=value, change=lambda v: keep(name, text(v), first), **look)


def controls(selection: Selection, layers: Sequence[int], first: pd.Series | None, n_train: int) -> cached.Sliders:
    """The sliders. first: the run's own noise-free row, whose layer and penalty are the defaults."""
    spec = data.spec(selection.path)
    left, middle, right = st.columns(3)
    with left:
        kind = choose_kind()
        hint = "A share of the training targets; for Gaussian the relative standard deviation."
        level = slider("Level of noise", "level", cached.LEVELS, 0.5, hint, PERCENT)
    with middle:
        layer = layers[-1] if first is None or first["layer"] not in layers else int(first["layer"])
        hint = "The layer whose hidden states the probe reads. 0: embeddings; k: after block k."
        layer = slider("Layer", "layer_live", layers, layer, hint, str)
        grid = sorted({*spec.explainers.penalties, *(10.0**k for k in range(-3, 6))})
        own = 1.0 if first is None or pd.isna(first["penalty"]) else float(first["penalty"])
        penalty = slider("Ridge penalty", "penalty", grid, own, "Added to the eigenvalues of XᵀX.", SHORT)
    with right:
        sizes = sorted({*(max(10, round(n_train * s)) for s in (0.05, 0.1, 0.2, 0.35, 0.5, 0.75)), n_train})
        size = slider("Training examples", "size", sizes, n_train, "Smaller sets are parts of larger ones.", COUNT)
        hint = "The curve is the mean over seeds, its band their range."
        offered = sorted({1, 2, 5, 10, 20, spec.noise.seeds})
        seeds = slider("Seeds of the noise", "seeds", offered, spec.noise.seeds, hint, str)
    return cached.Sliders(kind, level, layer, penalty, size, seeds)


@st.fragment
@guarded
def live_section(selection: Selection, edit: str, layers: tuple[int, ...]) -> None:
    """Sliders, refit and figure. They rerun together, without the rest of the page."""
    s = selection
    regime = "frozen" if s.regime == "frozen" else "refit"
    case = cached.RefitCase(s.path, s.checkpoint, regime, edit, s.split, data.stamp(s.path))
    train, test = cached.rows(case)
    if len(train) < 10 or len(test) < 5:
        st.info(f"Too few examples to refit: {len(train)} for training, {len(test)} in {s.split}.")
        return
    _, first = cached.stored_curve(s.path, s.setting, s.split, edit, "shuffle")
    sliders = controls(s, layers, first, len(train))
    start = time.perf_counter()
    found = cached.refit(case, sliders)
    milliseconds = 1_000 * (time.perf_counter() - start)
    st.html(f'<data class="refit" value="{milliseconds:.1f}" hidden></data>')  # for `make bench`
    stored, _ = cached.stored_curve(s.path, s.setting, s.split, edit, sliders.kind)
    at = found.curve.loc[found.curve["noise"] == sliders.level].iloc[0]
    null, number = " to ".join(map(charts.number, found.null)), charts.number
    words = f"At {sliders.level:.0%}: Self {number(at['self'])}, Orig {number(at['orig'])}, null {null}, "
    words += f"ceiling {number(found.ceiling)}."
    axis, breaks_at = chosen("x", AXES, "noise"), found.breaks_at
    if breaks_at is not None:
        breaks_at = float(np.interp(breaks_at, found.curve["noise"], found.curve[axis]))
    marks: dict[str, Any] = {"null": found.null, "ceiling": found.ceiling, "level": float(at[axis])}
    figure = charts.noise_curve(stored, found.curve, x=axis, breaks_at=breaks_at, **marks)
    where = about(
        s, n=len(test), n_groups=int(test["group"].nunique()), note=f"{edit}, ridge, {sliders.size:,} training rows"
    )
    alt = f"Self and Orig against {KINDS[sliders.kind].lower()} noise. {words}"
    show(figure, key="robustness", path=s.path, about=where, alt=alt, table=_table(found.curve, stored))
    choose("Noise measured as", "x", AXES, "noise", widget="segments", help=AXES_HELP)
    st.markdown(markdown_escaped(words), help=noise_words.NUMBERS_HELP)
    st.caption(noise_words.NULL_AND_CEILING)
    said = [markdown_escaped(line) for line in noise_words.lines(case, sliders, found)]
    mine = list(KINDS).index(sliders.kind) if len(said) > 1 else 0
    st.markdown("\n".join(f"- **{line}**" if i == mine else f"- {line}" for i, line in enumerate(said)))
    flipped_examples(s, case, sliders, found.explanation)


def _table(curve: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    columns = ["noise", "noisy_clean", "self", "self_low", "self_high", "orig", "orig_low", "orig_high"]
    curves = {"refitted now": curve, "precomputed": stored}
    return pd.concat([rows[columns].assign(curve=name) for name, rows in curves.items()], ignore_index=True)


def flipped_examples(
    selection: Selection, case: cached.RefitCase, sliders: cached.Sliders, explanation: np.ndarray
) -> None:
    """The examples whose predicted effect changed sign since the previous setting of the sliders."""
    memory = st.session_state.setdefault("robustness_last", {})
    key = (case, sliders)
    if memory.get("key") != key:
        same = memory.get("key") and memory["key"][0] == case
        memory["before"] = (memory["key"][1], memory["explanation"]) if same else None
        memory.update(key=key, explanation=explanation)
    st.subheader("Predictions that flipped", divider="grey")
    if not memory.get("before"):
        st.caption("Move a slider: examples whose predicted sign changes will be listed here.")
        return
    last, before = memory["before"]
    rows = cached.flips(cached.rows(case)[1], before, explanation)
    moved = [
        f"{label} {text(getattr(last, name))} → {text(getattr(sliders, name))}"
        for name, (label, text) in SETTINGS.items()
        if getattr(last, name) != getattr(sliders, name)
    ]
    st.markdown(markdown_escaped(f"{len(rows):,} of {len(explanation):,} changed sign: {', '.join(moved)}."))
    if rows.empty:
        return
    labels = {"effect_current": "Δ current", "effect_target": "Δ target", "before": "before", "after": "after"}
    columns = {c: st.column_config.NumberColumn(f"{label}, nats", format="%.3f") for c, label in labels.items()}
    look = {"hide_index": True, "height": 280, "column_config": columns, "selection_mode": "single-row"}
    alt = "Examples that flipped; choose a row to look at it"
    event = st.dataframe(rows.head(1_000), key=f"flips_{hash(key)}", on_select="rerun", alt=alt, **look)
    picked = event["selection"]["rows"]
    downloads(rows, "flipped", "flips_export")
    if picked and picked[0] < len(rows):
        with st.container(border=True):
            example_card(selection, str(rows["example_id"].iloc[picked[0]]))
    else:
        st.caption("Choose a row to look at the example.")
