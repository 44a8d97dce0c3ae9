"""What a run found, in a line of the list of runs: its primary explainer on held-out groups at the last checkpoint."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dashboard.reading import data
from engine.records import CLAIMS

COLUMNS = {"self": "Self", "gap": "Gap", "unseen": "Unseen"}
VERDICTS = {claim: f"{claim.capitalize()}: verdict" for claim in CLAIMS}


def headline(metrics: pd.DataFrame) -> pd.Series | None:
    """The row of the primary hypothesis at the last checkpoint, on held-out groups; else of the chosen explainer that
    stands first. None where nothing was scored. metrics: columns of `engine.records.METRICS`, without controls."""
    rows = metrics[metrics["chosen"].fillna(False).astype(bool) & (metrics["split"] == "test_heldout")]
    primary = rows[rows["primary"].fillna(False).astype(bool)] if "primary" in rows else rows[:0]
    rows = primary if len(primary) else rows
    if rows.empty:
        return None
    same = (rows[["explainer", "regime"]] == rows[["explainer", "regime"]].iloc[0]).all(axis=1)
    return rows[same].sort_values("step", kind="stable").iloc[-1]


def scores(path: Path) -> dict[str, object]:
    """Cells of the list of runs; empty where nothing was scored. Raises RunError."""
    row = headline(data.metrics(path, control=None))
    if row is None:
        return {}
    words = {label: row.get(f"verdict_{claim}") for claim, label in VERDICTS.items()}
    return {label: row.get(name) for name, label in COLUMNS.items()} | words
