"""Agreement in tiles, tables and lines: a value, its interval, n and null beside each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.correlation.halves import LABELS, Half
from dashboard.reading import chosen, data
from dashboard.reading.agreement import Agreement, Estimate
from dashboard.selection.state import Selection

TILES = {
    "self": (
        "Self",
        "Pearson r of the explanation with the current model's own effect. 1: the same up to scale.",
    ),
    "orig": (
        "Orig",
        "Pearson r of the explanation with the target's clean effect, on which explainers are trained.",
    ),
    "gap": (
        "Gap",
        "Self − Orig. Above 0 is called coupling; it may be no more than the present output being read.",
    ),
    "counterfactual_gap": (
        "Counterfact. gap",
        "The counterfactual gap: what the explanation knows of the unseen run f(x′) of the current model, less of the "
        "target's, with f(x) at both held fixed by splines. Not testable where the unseen runs can't be told apart.",
    ),
    "target_current": (
        "Target–current ρ",
        "Pearson r of the target's effects with the current model's: how far behavior has moved.",
    ),
}  # fmt: skip
COLUMN_HELP = {
    "n": "Explained examples.",
    "groups": "Groups among them: what is resampled and held out together.",
    "Self (r with Δ current)": TILES["self"][1],
    "Orig (r with Δ target)": TILES["orig"][1],
    "gap": TILES["gap"][1],
    "counterfactual gap": TILES["counterfactual_gap"][1],
    "ρ": TILES["target_current"][1],
    "null: retrained": "Self of explainers trained on shuffled targets: 95% band, as the run has it.",
    "null: pairs shuffled": "r when whole groups of explanations change places: 95% band.",
    "r, current model": "Pearson r, in the last line partial, with what the current model does; 95% interval.",
    "r, target": "The same with what the target does.",
    "current − target": "Their difference with a paired 95% interval.",
    "null, current": "95% band of r with the current model when groups of explanations change places.",
    "null, target": "95% band of r with the target when groups of explanations change places.",
}
Ends = tuple[float | None, float | None]


def shown(estimate: Estimate, *, sign: bool = False) -> str:
    """`0.81 [0.78, 0.84]`."""
    return charts.interval(estimate.value, estimate.low, estimate.high, sign=sign)


def band(ends: Ends, *, sign: bool = False) -> str:
    """`−0.09 to 0.09`, or n/a."""
    low, high = ends
    return (
        "n/a" if low is None or high is None else f"{charts.number(low, sign=sign)} to {charts.number(high, sign=sign)}"
    )


def with_help(columns: Iterable[str]) -> dict[str, Any]:
    """A help line for each column of a table that has one."""
    return {c: st.column_config.Column(help=COLUMN_HELP[c]) for c in columns if c in COLUMN_HELP}


def tiles(found: Agreement) -> None:
    """The five numbers of what is on the screen, each with its interval and a help line."""
    with st.container(horizontal=True, gap="small"):
        for name, (label, help_line) in TILES.items():
            estimate: Estimate = getattr(found, name)
            sign = "gap" in name
            value = charts.number(estimate.value, sign=sign)
            if name == "counterfactual_gap" and not found.testable:
                value = "not testable"
            interval = "no interval" if estimate.low is None else band((estimate.low, estimate.high), sign=sign)
            st.metric(
                label, value, interval, help=f"{help_line} Below: 95% interval.", border=True, delta_color="off",
                delta_arrow="off", width=156,
            )  # fmt: skip


def retrained_nulls(selection: Selection) -> dict[str, str]:
    """By kind of edit, the band of Self when explainers are retrained on shuffled targets, as the run has it.

    It is far wider than what shuffled pairs give, and only known for a whole split.
    """
    s = selection
    rows = data.metrics(
        s.path, control=None, explainer=s.explainer, regime=s.regime, split=s.split, checkpoint=s.checkpoint,
        noise_kind="none", condition=s.condition,
    )  # fmt: skip
    rows = chosen.best(chosen.for_layer(rows, s.layer)).dropna(subset=["null_low", "null_high"])
    return {row["edit"]: band((row["null_low"], row["null_high"])) for row in rows.to_dict("records")}


def by_edit_table(kinds: Mapping[str, Agreement], pooled: Agreement, nulls: Mapping[str, str]) -> pd.DataFrame:
    """One row for each kind of edit, and one for all where there are several."""
    rows = {**kinds, **({"all kinds, pooled": pooled} if len(kinds) > 1 else {})}
    return pd.DataFrame(
        [
            {
                "kind of edit": name,
                "n": found.n,
                "groups": found.n_groups,
                "Self (r with Δ current)": shown(found.self),
                "Orig (r with Δ target)": shown(found.orig),
                "gap": shown(found.gap, sign=True),
                "counterfactual gap": shown(found.counterfactual_gap, sign=True) if found.testable else "not testable",
                "ρ": shown(found.target_current),
                "null: retrained": nulls.get(name, "n/a"),
                "null: pairs shuffled": band((found.null_low, found.null_high)),
            }
            for name, found in rows.items()
        ]
    )


def halves_table(found: Mapping[str, Half], testable: bool) -> pd.DataFrame:
    """r of the explanation with Δ and with each of its two outputs, at both models."""
    gaps = {"effect": "the gap", "given": "the counterfactual gap" if testable else "not testable"}
    return pd.DataFrame(
        [
            {
                "explanation with": LABELS[name],
                "r, current model": shown(half.current),
                "r, target": shown(half.target),
                "current − target": shown(half.difference, sign=True) + (f": {gaps[name]}" if name in gaps else ""),
                "null, current": band(half.null_current),
                "null, target": band(half.null_target),
            }
            for name, half in found.items()
        ]
    )
