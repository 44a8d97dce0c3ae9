"""Tables of a study of self-explanation over seeds, as the README shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from engine.markdown import intervals, markdown_table
from engine.studies.over_seeds import counted, over_seeds, with_ends
from engine.studies.verbal_cells import VerbalStudySpec

CONTROLS = ("copy", "consistency", "output_text", "text_only", "small_lm", "other_model", "null")
COLUMNS: dict[str, tuple[str | None, str, str]] = {
    "agreement": (None, "label_agreement", "self"),
    "self": (None, "exact_match", "self"),
    "orig": (None, "exact_match", "orig"),
    "gap": (None, "exact_match", "gap"),
    "f1": (None, "has_changed_f1", "self"),
    "content": (None, "content_match", "self"),
    "unseen": (None, "exact_match", "counterfactual_gap"),
    "tracking": (None, "exact_match", "change_tracking"),
    "disagreeing": (None, "exact_match_disagreeing", "gap"),
    "parsed": (None, "parse_rate", "self"),
    "probe_self": (None, "pearson", "self"),
    "probe_orig": (None, "pearson", "orig"),
    "probe_gap": (None, "pearson", "gap"),
    "fresh": ("ceiling", "pearson", "self"),
    **{f"{name}_gap": (name, "exact_match", "gap") for name in CONTROLS},
    **{f"{name}_tracking": (name, "exact_match", "change_tracking") for name in CONTROLS},
}
"""Name in a summary → the control, metric and column that it comes from."""


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """For each task × setting × step: random-effects means over seeds as columns name, name_low, name_high (NaN if the
    interval has no width); verdicts counted; `tracks`: the number of seeds with change tracking above 0."""
    out = []
    keys = ["task", "setting", "step"]
    for key, own in rows.groupby(keys, sort=False):
        row: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"seeds": own["seed"].nunique()}
        for name, (control, metric, column) in COLUMNS.items():
            is_it = own["metric"] == metric
            is_it &= own["control"].isna() if control is None else own["control"] == control
            mean, low, high = over_seeds(own[is_it], column)
            row |= with_ends(name, (mean, low, high) if low < high else (mean, np.nan, np.nan))
        head = own[own["control"].isna() & (own["metric"] == "exact_match")]
        known = head["change_tracking"].dropna()
        row["tracks"] = f"{int((known > 0).sum())} of {len(known)}" if len(known) else "–"
        for name in ("verdict_coupling", "verdict_counterfactual"):
            row[name] = counted(head[name])
        out.append(row)
    return pd.DataFrame(out)


def markdown(
    table: pd.DataFrame, spec: VerbalStudySpec, split: str = "test_heldout", *, every_checkpoint: bool = False
) -> str:
    """Tables of the headline edit at each cell's last checkpoint: the model's sentences, and their controls. With
    `every_checkpoint`, one table with Self and Orig by training step."""
    if table.empty:
        return "no cell is done yet"
    rows = table[table["chosen"].astype(bool) & (table["split"] == split)]
    last = rows["step"] == rows.groupby("cell")["step"].transform("max")
    frame = summary(rows[rows["step"] > 0] if every_checkpoint else rows[last])
    reported = {setting.name: setting.reported for setting in spec.all_settings}
    frame["reported"] = frame["setting"].map(reported).fillna("")
    frame["order"] = frame["setting"].map({name: i for i, name in enumerate(reported)})
    frame = frame.sort_values(["order", "task", "step"], kind="stable", ascending=[True, False, True])
    match = {"agreement": "labels agree", "self": "Self", "orig": "Orig", "gap": "gap"}
    if every_checkpoint:
        unseen = {"unseen": "counterfactual gap", "tracking": "change tracking", "parsed": "parsed"}
        return _table(frame, match | unseen, {"step": "step"})
    more = {
        "disagreeing": "gap where they disagree",
        "f1": "has-changed F1",
        "content": "content",
        "unseen": "counterfactual gap",
        "tracking": "change tracking",
        "parsed": "parsed",
    }
    own = "the model itself"
    tracking = {"tracking": own} | {f"{name}_tracking": name for name in CONTROLS}
    gaps = {"gap": own} | {f"{name}_gap": name for name in CONTROLS}
    parts = [
        _table(frame, match | more, {"verdict_coupling": "coupling", "reported": "reported gap"}),
        "Change tracking (does the content follow the unseen answer, given the label and the present answer):",
        _table(frame, tracking, {"tracks": "above 0 in", "verdict_counterfactual": "verdict"}),
        "Gap of the exact match:",
        _table(frame, gaps),
    ]
    beside = frame[frame["probe_self"].notna()]
    if len(beside):
        probes = {"probe_self": "Self", "probe_orig": "Orig", "probe_gap": "gap", "fresh": "a fresh probe's Self"}
        parts += ["The frozen probe on the same checkpoints, and a fresh one:", _table(beside, probes)]
    return "\n\n".join(parts)


def _table(frame: pd.DataFrame, numbers: Mapping[str, str], words: Mapping[str, str] | None = None) -> str:
    """numbers, words: name in the summary → head of its column."""
    columns: dict[str, Any] = {head: frame[head] for head in ("setting", "task", "seeds")}
    columns |= {head: intervals(frame, name) for name, head in numbers.items()}
    return markdown_table(columns | {head: frame[name] for name, head in (words or {}).items()})
