"""Tables of a study of self-explanation, over seeds: what the README shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from engine.studies.over_seeds import counted, mean_interval
from engine.studies.verbal_study import VerbalStudySpec


def last(table: pd.DataFrame, split: str = "test_heldout") -> pd.DataFrame:
    """Rows of the headline edit at each cell's last checkpoint, on one split."""
    rows = table[table["chosen"].astype(bool) & (table["split"] == split)]
    return rows[rows["step"] == rows.groupby("cell")["step"].transform("max")]


def by_step(table: pd.DataFrame, split: str = "test_heldout") -> pd.DataFrame:
    """Rows of the headline edit at every trained checkpoint, on one split."""
    return table[table["chosen"].astype(bool) & (table["split"] == split) & (table["step"] > 0)]


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """For each task × setting × step: means over seeds with their intervals, as columns name, name_low, name_high;
    verdicts counted; `tracks`: in how many seeds change tracking is above 0."""
    out = []
    keys = ["task", "setting", "step"]
    for key, own in rows.groupby(keys, sort=False):
        row: dict[str, Any] = dict(zip(keys, key, strict=True)) | {"seeds": own["seed"].nunique()}
        for name, (control, metric, column) in COLUMNS.items():
            is_it = own["metric"] == metric
            is_it &= own["control"].isna() if control is None else own["control"] == control
            mine = own[is_it].reindex(columns=[column, f"{column}_low", f"{column}_high"]).astype(float)
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), mean_interval(mine, column), strict=True))
        head = own[own["control"].isna() & (own["metric"] == "exact_match")]
        known = head["change_tracking"].dropna()
        row["tracks"] = f"{int((known > 0).sum())} of {len(known)}" if len(known) else "–"
        for name in ("verdict_coupling", "verdict_counterfactual"):
            row[name] = counted(head[name])
        out.append(row)
    return pd.DataFrame(out)


COLUMNS: dict[str, tuple[str | None, str, str]] = {
    "agreement": (None, "label_agreement", "self"),
    "self": (None, "exact_match", "self"),
    "orig": (None, "exact_match", "orig"),
    "gap": (None, "exact_match", "gap"),
    "f1": (None, "has_changed_f1", "self"),
    "f1_gap": (None, "has_changed_f1", "gap"),
    "content": (None, "content_match", "self"),
    "content_gap": (None, "content_match", "gap"),
    "moved": (None, "content_match_moved", "self"),
    "balanced": (None, "content_match_balanced", "self"),
    "unseen": (None, "exact_match", "counterfactual_gap"),
    "tracking": (None, "exact_match", "change_tracking"),
    "disagreeing": (None, "exact_match_disagreeing", "gap"),
    "majority": (None, "majority", "self"),
    "parsed": (None, "parse_rate", "self"),
    "probe_self": (None, "pearson", "self"),
    "probe_orig": (None, "pearson", "orig"),
    "probe_gap": (None, "pearson", "gap"),
    "fresh": ("ceiling", "pearson", "self"),
    **{
        f"{name}_{short}": (name, "exact_match", column)
        for name in ("copy", "consistency", "output_text", "text_only", "small_lm", "other_model", "null")
        for short, column in (
            ("self", "self"),
            ("gap", "gap"),
            ("unseen", "counterfactual_gap"),
            ("tracking", "change_tracking"),
        )
    },
}
"""Name in a summary → which control, metric and column it comes from."""


def markdown(
    table: pd.DataFrame, spec: VerbalStudySpec, split: str = "test_heldout", *, every_checkpoint: bool = False
) -> str:
    """Tables at each cell's last checkpoint, as the README shows them: what the model says, and its controls. With
    `every_checkpoint` one table with Self and Orig by training step."""
    if table.empty:
        return "no cell is done yet"
    reported = {setting.name: setting.reported for setting in spec.all_settings}
    frame = summary(by_step(table, split) if every_checkpoint else last(table, split))
    frame["reported"] = frame["setting"].map(reported).fillna("")
    frame["order"] = frame["setting"].map({name: i for i, name in enumerate(reported)})
    frame = frame.sort_values(["order", "task", "step"], kind="stable", ascending=[True, False, True])
    if every_checkpoint:
        names = ("agreement", "self", "orig", "gap", "unseen", "tracking", "parsed")
        heads = ("labels agree", "Self", "Orig", "gap", "counterfactual gap", "change tracking", "parsed")
        return _table(frame, tuple(zip(names, heads, strict=True)), ("step", "step"))
    first = (
        ("agreement", "labels agree"),
        ("self", "Self"),
        ("orig", "Orig"),
        ("gap", "gap"),
        ("disagreeing", "gap where they disagree"),
        ("f1", "has-changed F1"),
        ("content", "content"),
        ("unseen", "counterfactual gap"),
        ("tracking", "change tracking"),
        ("parsed", "parsed"),
    )
    others = ("copy", "consistency", "output_text", "text_only", "small_lm", "other_model", "null")
    second = (("tracking", "the model itself"), *((f"{n}_tracking", n) for n in others))
    third = (("gap", "the model itself"), *((f"{n}_gap", n) for n in others))
    probes = (
        ("probe_self", "Self"),
        ("probe_orig", "Orig"),
        ("probe_gap", "gap"),
        ("fresh", "a fresh probe's Self"),
    )
    beside = frame[frame["probe_self"].notna()]
    more = ["The frozen probe on the same checkpoints, and a fresh one:", _table(beside, probes)] if len(beside) else []
    return "\n\n".join(
        [
            _table(frame, first, ("coupling", "verdict_coupling"), ("reported gap", "reported")),
            "Change tracking (does the content follow the unseen answer, given the label and the present answer):",
            _table(frame, second, ("above 0 in", "tracks"), ("verdict", "verdict_counterfactual")),
            "Gap of the exact match:",
            _table(frame, third),
            *more,
        ]
    )


def _table(frame: pd.DataFrame, columns: Sequence[tuple[str, str]], *words: tuple[str, str]) -> str:
    """columns: (name in the summary, head); words: (head, column of text)."""
    heads = ["setting", "task", "seeds", *(head for _, head in columns), *(head for head, _ in words)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in frame.to_dict("records"):
        numbers = [_cell(row, name) for name, _ in columns]
        told = [str(row[column]) for _, column in words]
        lines.append("| " + " | ".join([row["setting"], row["task"], str(row["seeds"]), *numbers, *told]) + " |")
    return "\n".join(lines)


def _cell(row: Mapping[Any, Any], name: str) -> str:
    """Mean over seeds with its interval."""
    mean, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(mean):
        return "–"
    return f"{mean:+.2f}" if pd.isna(low) or low == high else f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
