"""Agreement in tiles and tables: each value with its interval, n and null."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from dashboard import charts
from dashboard.correlation.halves import LABELS, Half
from dashboard.reading import chosen, data
from dashboard.reading.agreement import Agreement, Band, Estimate
from dashboard.selection.state import Selection
from dashboard.widgets.html_table import html_table
from dashboard.widgets.number_tiles import Tile, number_tiles

TILES = {
    "self": ("Self", "Pearson r of the explanation with the current model's own effect."),
    "orig": ("Orig", "Pearson r of the explanation with the target's clean effect, on which explainers are trained."),
    "gap": ("Gap", "Self − Orig. Above 0 is called coupling. Reading the present output is enough to cause it."),
    "unseen": (
        "Unseen",
        "What the explanation knows of the unseen answer: its correlation with the current f(x′), both freed from "
        "f(x) of both models and the target's f(x′).",
    ),
    "target_current": ("Target–current ρ", "Pearson r of the target's effects with the current model's."),
}
COLUMN_HELP = {
    "n": "Explained examples.",
    "groups": "Their groups. A group is resampled, and held out, as a whole.",
    "Self (r with Δ current)": TILES["self"][1],
    "Orig (r with Δ target)": TILES["orig"][1],
    "gap": TILES["gap"][1],
    "unseen": TILES["unseen"][1],
    "ρ": TILES["target_current"][1],
}


def shown(estimate: Estimate, *, sign: bool = False) -> str:
    """`0.81 [0.78, 0.84]`."""
    return charts.interval(*estimate, sign=sign)


def band(ends: Band, *, sign: bool = False) -> str:
    """`−0.09 to 0.09`, or n/a."""
    return "n/a" if None in ends else " to ".join(charts.number(end, sign=sign) for end in ends)


def tiles(found: Agreement) -> None:
    """Five numbers, each with its interval and its meaning."""
    shown = []
    for name, (label, meaning) in TILES.items():
        estimate: Estimate = getattr(found, name)
        untestable = name == "unseen" and found.why_not
        value = charts.number(estimate.value, sign=name in ("gap", "unseen"))
        meaning += f" Not testable here: {found.why_not}." if untestable else ""
        interval = "no interval" if estimate.low is None else band(estimate[1:], sign=name in ("gap", "unseen"))
        shown.append(Tile(label, f"{meaning} Below: 95% interval.", "not testable" if untestable else value, interval))
    st.html(number_tiles(shown))


def retrained_nulls(selection: Selection) -> dict[str, str]:
    """Kind of edit → the run's 95% band of Self of explainers that were trained on shuffled targets.

    It is far wider than the band of shuffled pairs, and known only for a whole split.
    """
    rows = data.setting_metrics(selection.path, selection.setting, split=selection.split, noise_kind="none")
    rows = chosen.best(chosen.for_layer(rows, selection.layer)).dropna(subset=["null_low", "null_high"])
    return {row["edit"]: band((row["null_low"], row["null_high"])) for row in rows.to_dict("records")}


def by_edit_table(kinds: Mapping[str, Agreement], pooled: Agreement, retrained: Mapping[str, str]) -> None:
    """One row per kind of edit, and one for all kinds if there are several."""
    rows = {**kinds, **({"all kinds, pooled": pooled} if len(kinds) > 1 else {})}
    lines = [
        {
            "kind of edit": name,
            "n": found.n,
            "groups": found.n_groups,
            "Self (r with Δ current)": shown(found.self),
            "Orig (r with Δ target)": shown(found.orig),
            "gap": shown(found.gap, sign=True),
            "unseen": "not testable" if found.why_not else shown(found.unseen, sign=True),
            "ρ": shown(found.target_current),
            "null: retrained": retrained.get(name, "n/a"),
            "null: pairs shuffled": band(found.null),
        }
        for name, found in rows.items()
    ]
    st.subheader("Within each kind of edit", divider="grey")
    _table(lines, "Agreement within each kind of edit")
    st.caption(
        "In brackets: 95% bootstrap by group, pointwise. Two nulls, each a 95% band. Retrained: Self of explainers "
        "trained on shuffled targets, known for whole splits only. Pairs shuffled, in all tables of this page: r when "
        "whole groups of explanations change places; this band is narrower."
    )


def halves_table(found: Mapping[str, Half]) -> None:
    """r of the explanation with Δ and with each of its two outputs, at both models."""
    notes = {"effect": ": the gap"}
    lines = [
        {
            "explanation with": LABELS[name],
            "r, current model": shown(half.current),
            "r, target": shown(half.target),
            "current − target": shown(half.difference, sign=True) + notes.get(name, ""),
            "null, pairs shuffled: current": band(half.null_current),
            "target": band(half.null_target),
        }
        for name, half in found.items()
    ]
    st.subheader("Δ split into its two outputs", divider="grey")
    _table(lines, "Correlations of the explanation with the effect and with each of its two outputs")
    st.caption("An explanation that agrees only with −f(x) reads the present output.")


def _table(lines: list[dict[str, Any]], label: str) -> None:
    columns = {name: COLUMN_HELP.get(name, "") for name in lines[0]}
    st.html(html_table(columns, [list(line.values()) for line in lines], label=label))
