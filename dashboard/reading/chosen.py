"""Which rows of the metrics stand for a setting. Pure; frames of `engine.records.METRICS` in and out."""

from __future__ import annotations

import pandas as pd


def noise_kinds(explainer: str) -> tuple[str, ...]:
    """Kinds of label noise of an explainer's headline rows: none, but for a self-explaining run, whose labels have one
    noise throughout."""
    return ("none", "shuffle") if explainer == "verbal" else ("none",)


def best(rows: pd.DataFrame) -> pd.DataFrame:
    """One setting for each explainer × regime × edit, at all checkpoints and noise levels.

    The chosen setting where it lies in the rows, else the one whose cross-validated correlation with the
    targets is highest; never one picked by what is plotted. `rows` are of the explainers themselves. Noise-free rows
    decide, where there are any: a model that explains itself may have been trained on noisy labels only.
    """
    if rows.empty:
        return rows
    rows = rows[rows["mode"].isna() | (rows["mode"] != "difference")]
    keys = ["explainer", "regime", "edit"]
    columns = [*keys, "mode", "position", "layer", "penalty"]
    is_clean = (rows["noise_kind"] == "none") | (rows["noise"] == 0)
    has_clean = is_clean.groupby([rows[k] for k in keys], dropna=False).transform("any")
    clean = rows[is_clean | ~has_clean]
    table = clean.groupby(columns, dropna=False, sort=False).agg(chosen=("chosen", "max"), cv=("cv", "max"))
    table = table.reset_index()
    table["chosen"] = table["chosen"].fillna(False).astype(bool)
    table = table.sort_values(["chosen", "cv"], ascending=False, kind="stable", na_position="last")
    table = table.drop_duplicates(keys)[columns]
    return _matching(rows, table)


def _matching(rows: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """Rows whose setting stands in the table; null equals null."""
    columns = list(table.columns)

    def key(frame: pd.DataFrame) -> pd.Series:
        return frame[columns].astype(object).where(frame[columns].notna(), None).apply(tuple, axis=1)

    if rows.empty or table.empty:
        return rows.iloc[:0]
    return rows[key(rows).isin(set(key(table)))].reset_index(drop=True)


def beside(rows: pd.DataFrame, explainer: str, regime: str, condition: str | None = None) -> pd.DataFrame:
    """Control rows, one for each control and checkpoint: the explainer's own where it has them, else those beside the
    frozen ridge, which every run measures. `rows` may hold explainers too; they are left out."""
    rows = rows[rows["control"].notna()]
    same = rows["condition"].isna() if condition is None else rows["condition"] == condition
    own = (rows["explainer"] == explainer) & (rows["regime"] == regime) & same
    ridge = (rows["explainer"] == "ridge") & (rows["regime"] == "frozen") & rows["condition"].isna()
    ordered = pd.concat([rows[own], rows[ridge & ~own], rows[~own & ~ridge]])
    return ordered.drop_duplicates(["control", "checkpoint"]).reset_index(drop=True)


def for_layer(rows: pd.DataFrame, layer: int | None) -> pd.DataFrame:
    """Rows of one layer; all where none is asked for."""
    return rows if layer is None else rows[rows["layer"] == layer]


def default_edit(rows: pd.DataFrame) -> str | None:
    """The kind of edit of the chosen setting, else the first there is."""
    marked = rows[rows["chosen"].fillna(False).astype(bool) & rows["edit"].notna()]
    edits = (marked if len(marked) else rows)["edit"].dropna()
    return str(edits.iloc[0]) if len(edits) else None


def coupling_lost(rows: pd.DataFrame) -> tuple[pd.Series | None, str]:
    """The checkpoint at which coupling is lost, and a sentence about it.

    Lost: the first checkpoint after the last at which the verdict "holds". `rows` are one setting's, by step.
    """
    rows = rows.sort_values("step", kind="stable").reset_index(drop=True)
    later = rows[rows["checkpoint"] != rows["target"]]
    holds = later.index[later["verdict_coupling"] == "holds"]
    if later.empty:
        return None, "There is no checkpoint after the target."
    if not len(holds):
        return None, "Coupling holds at no checkpoint in this setting, so there is none at which it is lost."
    after = [i for i in later.index if i > holds[-1]]
    if not after:
        return None, "Coupling holds to the last checkpoint: it is not lost in this run."
    row = rows.loc[after[0]]
    rho = row["target_current"]
    measured = "" if rho is None or rho != rho else f", where target–current ρ is {rho:.2f}"
    held = int(rows.loc[holds[-1], "step"])
    return row, f"Coupling last holds at step {held} and is lost at step {int(row['step'])}{measured}."
