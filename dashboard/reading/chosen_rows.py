"""The chosen setting of a run over its checkpoints, with its controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dashboard.reading import chosen as settings
from dashboard.reading import data


def chosen_rows(
    path: Path, checkpoints: Sequence[str], explainer: str, regime: str, split: str, condition: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The chosen rows over checkpoints, and the controls of the same edit (see `chosen.beside`), both in the order of
    `checkpoints`. Empty if no row is marked as chosen."""
    wanted = {"split": split, "noise_kind": settings.noise_kinds(explainer)}
    rows = data.metrics(path, control=None, explainer=explainer, regime=regime, condition=condition, **wanted)
    # A run tries one setting under another condition, and marks none of its rows.
    rows = rows[rows.chosen.fillna(False).astype(bool)] if condition is None else settings.best(rows)
    order = {name: i for i, name in enumerate(checkpoints)}

    def sorted_rows(frame: pd.DataFrame) -> pd.DataFrame:
        known = frame[frame.checkpoint.isin(order)]
        return known.sort_values("checkpoint", key=lambda c: c.map(order), kind="stable").reset_index(drop=True)

    rows = sorted_rows(rows).drop_duplicates("checkpoint")
    every = data.metrics(path, edit=list(rows.edit.unique()), **wanted)
    return rows, sorted_rows(settings.beside(every, explainer, regime, condition))
