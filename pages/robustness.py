"""How much label noise explanations survive: a live refit of the ridge probe over the precomputed curve."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.reading import chosen as settings
from dashboard.reading import data
from dashboard.refit import cached
from dashboard.robustness import noise_words, verbal_noise
from dashboard.robustness.noise_words import KINDS, NULL_AND_CEILING
from dashboard.selection.state import Selection, problem, sidebar
from dashboard.text import markdown_escaped
from dashboard.widgets.example_view import example_card
from dashboard.widgets.figures import about, chosen, keep, show
from dashboard.widgets.parts import downloads, small_print
from engine.runs.store import RunError

AXES = {"noise": "level of noise", "noisy_clean": "corr(noisy, clean targets)"}


def slider(label: str, name: str, options: list, default: object, help: str, text=str):
    """A slider over listed values, kept in the URL. Reports on release."""
    by_text = {text(o): o for o in options}
    value = by_text[chosen(name, by_text, text(default) if text(default) in by_text else next(iter(by_text)))]
    key = f"option_{name}"
    st.session_state[key] = value
    if len(options) > 1:
        st.select_slider(
            label, options, key=key, format_func=text, help=help,
            on_change=lambda: keep(name, text(st.session_state[key]), text(default)),
        )  # fmt: skip
    else:
        st.text_input(label, text(value), disabled=True, help=help)
    return value


def nearest(options: list, value: float) -> object:
    return min(options, key=lambda o: abs(math.log(o) - math.log(value))) if value > 0 else options[0]


def controls(selection: Selection, layers: tuple[int, ...], default: pd.Series | None, n_train: int) -> cached.Choice:
    """The sliders."""
    spec = data.spec(selection.path)
    left, middle, right = st.columns(3)
    with left:
        kind = chosen("kind", KINDS, "shuffle")
        st.session_state["option_kind"] = kind
        st.segmented_control(
            "Kind of label noise", list(KINDS), key="option_kind", required=True, wrap=True,
            format_func=lambda k: KINDS[k],
            on_change=lambda: keep("kind", st.session_state["option_kind"], "shuffle"),
            help="Shuffle: a share of the targets change places. Flip: a share change sign. Gaussian: noise of a size "
            "relative to the targets' own spread.",
        )  # fmt: skip
        level = slider(
            "Level of noise", "level", list(cached.LEVELS), 0.5,
            "A share of the training targets, or for Gaussian the relative size.", lambda v: f"{v:.0%}",
        )  # fmt: skip
    with middle:
        known = None if default is None else default["layer"]
        layer = slider(
            "Layer", "layer_live", list(layers), int(known) if known in layers else layers[-1],
            "Whose hidden states the probe reads. 0: embeddings; k: after block k.",
        )  # fmt: skip
        grid = sorted({*spec.explainers.penalties, *(10.0**k for k in range(-3, 6))})
        own = 1.0 if default is None or pd.isna(default["penalty"]) else float(default["penalty"])
        penalty = slider(
            "Ridge penalty", "penalty", grid, nearest(grid, own), "Added to the eigenvalues of XᵀX.",
            lambda v: f"{v:g}",
        )  # fmt: skip
    with right:
        sizes = sorted({*(max(10, round(n_train * s)) for s in (0.05, 0.1, 0.2, 0.35, 0.5, 0.75)), n_train})
        size = slider(
            "Training examples", "size", sizes, n_train, "Smaller sets are parts of larger ones.", lambda v: f"{v:,}"
        )
        seeds = slider(
            "Seeds of the noise", "seeds", [1, 2, 5, 10, 20], nearest([1, 2, 5, 10, 20], spec.noise.seeds),
            "The curve is their mean, its band their range.",
        )  # fmt: skip
    return cached.Choice(kind, level, layer, penalty, size, seeds)


def stored_curve(selection: Selection, edit: str, kind: str) -> tuple[pd.DataFrame, pd.Series | None]:
    """The precomputed curve of one kind of noise, and the setting it is of."""
    return cached.stored_curve(
        _place(selection, edit), selection.explainer, selection.regime, selection.condition, kind
    )


def _place(selection: Selection, edit: str) -> cached.Place:
    regime = "frozen" if selection.regime == "frozen" else "refit"
    return cached.Place(
        selection.path, selection.checkpoint, regime, edit, selection.split, data.stamp(selection.path)
    )  # fmt: skip


def in_words(found: cached.Live, place: cached.Place, choice: cached.Choice, at: pd.Series) -> None:
    """The numbers at the level chosen, and what noise would break it: a line for each kind, the chosen one bold."""
    null = f"{charts.number(found.null[1])} to {charts.number(found.null[2])}"
    words = f"At {choice.level:.0%}: Self {charts.number(at['self'])}, Orig {charts.number(at['orig'])}, null {null}"
    words += f", ceiling {charts.number(found.ceiling)}."
    st.markdown(markdown_escaped(words), help=noise_words.NUMBERS_HELP)
    st.caption(NULL_AND_CEILING)
    breaks = noise_words.breaks(place, choice, found)
    said = [markdown_escaped(line) for line in noise_words.lines(breaks)]
    mine = list(KINDS).index(choice.kind) if len(said) > 1 else 0
    st.markdown("\n".join(f"- **{line}**" if i == mine else f"- {line}" for i, line in enumerate(said)))


def flipped_examples(selection: Selection, place: cached.Place, found: cached.Live, choice: cached.Choice) -> None:
    """Which predictions changed sign since the last setting."""
    memory = st.session_state.setdefault("robustness_last", {})
    key = (place, choice)
    if memory.get("key") != key:
        same = memory.get("key") and memory["key"][0] == place
        memory["before"] = (memory["key"][1], memory["explanation"]) if same else None
        memory.update(key=key, explanation=found.explanation)
    st.subheader("Predictions that flipped", divider="grey")
    if not memory.get("before"):
        st.caption("Move a slider: examples whose predicted sign changes will be listed here.")
        return
    last, explanation = memory["before"]
    rows = cached.flips(cached.rows(place), explanation, found.explanation)
    moved = [
        f"{label} {text(getattr(last, name))} → {text(getattr(choice, name))}"
        for name, label, text in (
            ("kind", "kind", str), ("level", "level", lambda v: f"{v:.0%}"), ("layer", "layer", str),
            ("penalty", "penalty", lambda v: f"{v:g}"), ("size", "training examples", str), ("seeds", "seeds", str),
        )
        if getattr(last, name) != getattr(choice, name)
    ]  # fmt: skip
    total = len(found.explanation)
    st.markdown(markdown_escaped(f"{len(rows):,} of {total:,} changed sign: {', '.join(moved)}."))
    if len(rows):
        numbers = ["effect_current", "effect_target", "before", "after"]
        labels = {"effect_current": "Δ current", "effect_target": "Δ target", "before": "before", "after": "after"}
        columns = {c: st.column_config.NumberColumn(f"{labels[c]}, nats", format="%.3f") for c in numbers}
        picked = st.dataframe(
            rows.head(1_000), hide_index=True, height=280, key=f"flips_{hash((place, choice))}", column_config=columns,
            on_select="rerun", selection_mode="single-row", alt="Examples that flipped; choose a row to look at it",
        )["selection"]["rows"]  # fmt: skip
        downloads(rows, "flipped", "flips_export")
        if picked and picked[0] < len(rows):
            with st.container(border=True):
                example_card(selection, str(rows["example_id"].iloc[picked[0]]))
        else:
            st.caption("Choose a row to look at the example.")


@st.fragment
def live_section(selection: Selection, edit: str, layers: tuple[int, ...]) -> None:
    """Sliders, refit and plot, rerun together and alone."""
    place = _place(selection, edit)
    _, default = stored_curve(selection, edit, "shuffle")
    rows = cached.rows(place)
    if len(rows.train) < 10 or len(rows.test) < 5:
        st.info(f"Too few examples to refit: {len(rows.train)} for training, {len(rows.test)} in {selection.split}.")
        return
    choice = controls(selection, layers, default, len(rows.train))
    found = cached.run(place, choice)
    stored, _ = stored_curve(selection, edit, choice.kind)
    axis = chosen("x", AXES, "noise")
    at = found.curve.loc[found.curve["noise"] == choice.level].iloc[0]
    figure = charts.noise_curve(
        stored, found.curve, x=axis, null=found.null[1:], ceiling=found.ceiling,
        breaks_at=_on_axis(found, axis), level=float(at[axis]),
    )  # fmt: skip
    show(
        figure, key="robustness", path=selection.path,
        about=about(selection, n=len(rows.test), n_groups=int(rows.test["group"].nunique()), note=f"{edit}, ridge"),
        alt=f"Self and Orig against {KINDS[choice.kind].lower()} noise. At {choice.level:.0%}: Self {at['self']:.2f}, "
        f"Orig {at['orig']:.2f}; null up to {found.null[2]:.2f}; ceiling {found.ceiling:.2f}.",
        table=_table(found.curve, stored),
    )  # fmt: skip
    st.session_state["option_x"] = axis
    st.segmented_control(
        "Noise measured as", list(AXES), key="option_x", required=True, wrap=True, format_func=lambda a: AXES[a],
        on_change=lambda: keep("x", st.session_state["option_x"], "noise"),
        help="Equal levels of different noises spoil the targets by different amounts; their correlation with the "
        "clean targets makes them comparable.",
    )  # fmt: skip
    in_words(found, place, choice, at)
    small_print(_times(found, rows, choice))
    flipped_examples(selection, place, found, choice)


def _on_axis(found: cached.Live, axis: str) -> float | None:
    if found.breaks_at is None or axis == "noise":
        return found.breaks_at
    return float(np.interp(found.breaks_at, found.curve["noise"], found.curve["noisy_clean"]))


def _table(curve: pd.DataFrame, stored: pd.DataFrame) -> pd.DataFrame:
    columns = ["noise", "noisy_clean", "self", "self_low", "self_high", "orig", "orig_low", "orig_high"]
    return pd.concat(
        [curve[columns].assign(curve="refitted now"), stored[columns].assign(curve="precomputed")], ignore_index=True
    )


def _times(found: cached.Live, rows: cached.Rows, choice: cached.Choice) -> str:
    total = sum(found.milliseconds.values())
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in found.milliseconds.items())
    return (
        f"Refitted in {total:.0f} ms ({parts}): {choice.size:,} training rows, {len(rows.test):,} test rows, "
        f"{len(cached.LEVELS)} levels × {choice.seeds} seeds."
    )


def precomputed_only(selection: Selection, edit: str, why: str) -> None:
    """The run keeps no hidden states: the curve as it was measured."""
    st.info(markdown_escaped(why), icon=":material/database_off:")
    kind = chosen("kind", KINDS, "shuffle")
    st.session_state["option_kind"] = kind
    st.segmented_control(
        "Kind of label noise", list(KINDS), key="option_kind", required=True, wrap=True, format_func=lambda k: KINDS[k],
        on_change=lambda: keep("kind", st.session_state["option_kind"], "shuffle"),
    )  # fmt: skip
    stored, first = stored_curve(selection, edit, kind)
    if first is None or len(stored) < 2:
        st.info("No curve over label noise was measured for this setting: choose the edit of the chosen setting.")
        return
    band = (first["null_low"], first["null_high"])
    null = None if pd.isna(band[0]) else (float(band[0]), float(band[1]))
    tops = data.metrics(
        selection.path, control="ceiling", checkpoint=selection.checkpoint, split=selection.split, edit=edit
    )["self"].dropna()
    show(
        charts.noise_curve(stored, null=null, ceiling=float(tops.iloc[0]) if len(tops) else None),
        key="robustness", path=selection.path,
        about=about(selection, n=int(first["n"]), n_groups=int(first["n_groups"]), note=edit),
        alt="Self and Orig against label noise, as precomputed.", table=stored,
    )  # fmt: skip
    st.caption(NULL_AND_CEILING)


st.title("Robustness")
st.write("How much of the training labels can be spoilt before explanations stop agreeing with the model?")
selection = sidebar("checkpoint", "explainer", "regime", "split", "edit")
if selection is None:
    st.stop()
try:
    every = data.metrics(
        selection.path, control=None, explainer=selection.explainer, split=selection.split,
        condition=selection.condition,
    )  # fmt: skip
    edit = selection.edit or settings.default_edit(every) or selection.options.edits[0]
    if selection.edit is None and len(selection.options.edits) > 1:
        st.caption(f"Kind of edit: {markdown_escaped(edit)}, of the chosen setting. The sidebar has the others.")
    kept = cached.layers(selection.path, selection.checkpoint, data.stamp(selection.path))
    if selection.explainer == "verbal":
        verbal_noise.noise_curve(selection, edit)
    elif not kept:
        precomputed_only(
            selection, edit, "This run keeps no hidden states, so nothing can be refitted here. Shown is the "
            "curve measured when the run was made. To refit live, make the run with hidden: keep: prompts.",
        )  # fmt: skip
    else:
        if selection.explainer != "ridge" or selection.regime == "online":
            st.caption(
                f"Precomputed: {selection.explainer}, {selection.regime}. What is refitted live is a ridge probe, "
                f"{'trained once at the first checkpoint' if selection.regime == 'frozen' else 'refit here'}."
            )
        live_section(selection, edit, kept)
except RunError as error:
    problem(str(error))
