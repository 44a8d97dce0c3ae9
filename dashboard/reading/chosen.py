"""Picks rows of the metrics for a setting. Pure: frames of `engine.records.METRICS` in and out."""

from __future__ import annotations

import pandas as pd

from engine.records import CLAIMS, METRICS

NOT_SCORED = "not scored"
"""The verdict on every row of a run that an earlier version made, until `coupling rescore`."""


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with every column of METRICS. A run of an earlier version has other columns and other verdicts: what it
    lacks is null, and each of its verdicts becomes `NOT_SCORED`."""
    if "verdict_unseen" in rows:
        return rows
    missing = [name for name in METRICS.names if name not in rows]
    rows = rows.reindex(columns=[*rows.columns, *missing])
    return rows.assign(**{f"verdict_{claim}": NOT_SCORED for claim in CLAIMS})


def noise_kinds(explainer: str) -> tuple[str, ...]:
    """Kinds of label noise of an explainer's headline rows. A model that explains itself also has "shuffle", because
    all labels of its run have the same noise."""
    return ("none", "shuffle") if explainer == "verbal" else ("none",)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of one setting for each explainer × regime × edit, at all checkpoints and noise levels.

    It is the chosen setting if `rows` have it, else the one with the highest cross-validated correlation with the
    targets; plotted numbers play no part. `rows` are of explainers, not of controls. Noise-free rows decide if there
    are any: a model that explains itself may have been trained on noisy labels only.
    """
    if rows.empty:
        return rows
    rows = rows[rows["mode"].isna() | (rows["mode"] != "difference")]
    keys = ["explainer", "regime", "edit"]
    setting = rows.groupby([*keys, "mode", "position", "layer", "penalty"], dropna=False, sort=False).ngroup()
    is_clean = (rows["noise_kind"] == "none") | (rows["noise"] == 0)
    has_clean = is_clean.groupby([rows[k] for k in keys], dropna=False).transform("any")
    clean = rows[is_clean | ~has_clean].assign(setting=setting)
    table = clean.groupby("setting", sort=False).agg(
        **{key: (key, "first") for key in keys}, chosen=("chosen", "max"), cv=("cv", "max")
    )
    table["chosen"] = table["chosen"].fillna(False).astype(bool)
    table = table.sort_values(["chosen", "cv"], ascending=False, kind="stable", na_position="last")
    return rows[setting.isin(table.drop_duplicates(keys).index)].reset_index(drop=True)


def beside(rows: pd.DataFrame, explainer: str, regime: str, condition: str | None = None) -> pd.DataFrame:
    """One row per control and checkpoint: the explainer's own if there is one, else the one beside the frozen ridge,
    which every run measures. `rows` may hold explainers too; they are left out."""
    rows = rows[rows["control"].notna()]
    same = rows["condition"].isna() if condition is None else rows["condition"] == condition
    own = (rows["explainer"] == explainer) & (rows["regime"] == regime) & same
    ridge = (rows["explainer"] == "ridge") & (rows["regime"] == "frozen") & rows["condition"].isna()
    ordered = pd.concat([rows[own], rows[ridge & ~own], rows[~own & ~ridge]])
    return ordered.drop_duplicates(["control", "checkpoint"]).reset_index(drop=True)


def for_layer(rows: pd.DataFrame, layer: int | None) -> pd.DataFrame:
    """Rows of one layer; all rows if the layer is None."""
    return rows if layer is None else rows[rows["layer"] == layer]


def default_edit(rows: pd.DataFrame) -> str | None:
    """The kind of edit of the chosen setting, else the first kind in the rows."""
    marked = rows[rows["chosen"].fillna(False).astype(bool) & rows["edit"].notna()]
    edits = (marked if len(marked) else rows)["edit"].dropna()
    return str(edits.iloc[0]) if len(edits) else None


def coupling_lost(rows: pd.DataFrame) -> tuple[pd.Series | None, str]:
    """The checkpoint at which coupling is lost, and a sentence about it. `rows` are those of one setting.

    It is the first checkpoint after the last one with the verdict "shown".
    """
    rows = rows.sort_values("step", kind="stable").reset_index(drop=True)
    later = rows[rows["checkpoint"] != rows["target"]]
    shown = later.index[later["verdict_coupling"] == "shown"]
    if later.empty:
        return None, "There is no checkpoint after the target."
    if (later["verdict_coupling"] == NOT_SCORED).all():
        return None, "This run was made by an earlier version, and its coupling is not scored yet."
    if later["verdict_coupling"].isna().all():
        return None, "Coupling was not tested in this setting."
    if not len(shown):
        return None, "Coupling is shown at no checkpoint in this setting, so there is none at which it is lost."
    after = later.loc[shown[-1] + 1 :]
    if after.empty:
        return None, "Coupling is shown to the last checkpoint: it is not lost in this run."
    row, rho = after.iloc[0], after["target_current"].iloc[0]
    measured = "" if pd.isna(rho) else f", where target–current ρ is {rho:.2f}"
    last = int(rows.loc[shown[-1], "step"])
    return row, f"Coupling is last shown at step {last} and is lost at step {int(row['step'])}{measured}."
