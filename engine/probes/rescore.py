"""Scores of probes from what a run stores: explanations example by example, and behavior. No model, no hidden states.

Stored are the explanations without label noise of each kind's best probe, averaged over seeds, of some controls, and
the stale readings. A frozen explainer's stale reading is what it said at the first checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from engine.probes.kinds import REFERENCE
from engine.probes.probe import Probe
from engine.probes.scorer import (
    KEPT_CONTROLS,
    Columns,
    Rivals,
    Samples,
    Scored,
    control_rows,
    control_scores,
    explainer_rows,
    samples_of,
    score_at,
    verdict_columns,
)
from engine.progress import Progress
from engine.runs.observed import EVALUATED, Observed, Place

OF_EXPLAINER = ["explainer", "regime", "condition", "edit"]
NO_STALE = "its reading of the target's hidden states was not stored"


def rescored(observed: Observed, progress: Progress) -> list[Columns]:
    """Rows of records.METRICS of the stored explainers and controls, with verdicts; without nulls."""
    table = observed.record.read_table("explanations.parquet").to_pandas()
    table = table[(table["noise"] == 0) & table["explanation"].notna()]
    samples = samples_of(observed)
    row_of = pd.Series(np.arange(len(observed.examples)), index=observed.examples["example_id"])
    table = table.assign(row=row_of.reindex(table["example_id"]).to_numpy())
    own, beside = table[table["control"].isna()], table[table["control"].notna()]
    stored = list(own.groupby(OF_EXPLAINER, dropna=False, observed=True))
    leading, rivals, rows = [], [], []
    of_edit: dict[str, Rivals] = {}
    for done, (key, said) in enumerate(stored):
        progress("scoring anew", done, len(stored))
        named = dict(zip(OF_EXPLAINER, key, strict=True))
        edit = str(named["edit"])
        explanations = _over_checkpoints(observed, edit, said)
        if explanations is None:
            continue
        stale = _over_checkpoints(observed, edit, _same(beside[beside["control"] == "stale"], named))
        if stale is None and (named["regime"] == "frozen" or pd.notna(named["condition"])):
            stale = [explanations[0]] * len(explanations)
        one = _scored(observed, samples, named, said.iloc[0], explanations, stale)
        controls: Rivals = {} if stale is None else {"stale": control_scores(observed, samples, one, stale)}
        if edit not in of_edit:
            of_edit[edit] = {}
            reference = named | {"explainer": REFERENCE, "regime": "frozen", "condition": None}
            for name in KEPT_CONTROLS:
                told = _over_checkpoints(observed, edit, _same(beside[beside["control"] == name], reference))
                if told is not None:
                    of_edit[edit][name] = control_scores(observed, samples, one, told)
        controls |= of_edit[edit]
        is_reference = (named["explainer"], named["regime"]) == (REFERENCE, "frozen")
        for name, scores in controls.items():
            if name == "stale" or is_reference:
                rows += control_rows(observed, one, name, scores)
        leading.append(one)
        rivals.append(controls)
    progress("scoring anew", len(stored), len(stored))
    for one, verdict_at in zip(leading, verdict_columns(observed, leading, rivals), strict=True):
        rows += explainer_rows(observed, one, verdict_at)
    return rows


def _same(table: pd.DataFrame, named: dict[str, Any]) -> pd.DataFrame:
    """The rows with the named columns' values; None matches a null."""
    keep = np.ones(len(table), dtype=bool)
    for column, value in named.items():
        cells = table[column]
        keep &= (cells.isna() if pd.isna(value) else cells == value).to_numpy(dtype=bool)
    return table[keep]


def _over_checkpoints(observed: Observed, edit: str, said: pd.DataFrame) -> list[np.ndarray] | None:
    """Explanations of the evaluated rows of an edit, [n] at each checkpoint; None where some are missing."""
    rows, out = observed.rows(edit, *EVALUATED), []
    for name in observed.currents:
        at = said[said["checkpoint"] == name].drop_duplicates("row").set_index("row")["explanation"]
        values = at.reindex(rows).to_numpy(dtype=np.float64)
        if np.isnan(values).any():
            return None
        out.append(values)
    return out


def _scored(
    observed: Observed,
    samples: Samples,
    named: dict[str, Any],
    setting: pd.Series,
    explanations: Sequence[np.ndarray],
    stale: Sequence[np.ndarray] | None,
) -> Scored:
    place = Place(named["edit"], setting["mode"], setting["position"], int(setting["layer"]))
    condition = None if pd.isna(named["condition"]) else str(named["condition"])
    penalty = float(setting["penalty"])
    probe = Probe(named["explainer"], place, penalty, np.nan, True, bool(setting["chosen"]), condition)
    own = Scored(probe, named["regime"], observed.rows(place.edit, *EVALUATED), {}, {}, list(explanations), [])
    scores = {}
    for (edit, split), sample in samples.items():
        if edit != place.edit:
            continue
        for t in range(len(observed.currents)):
            then = None if stale is None else stale[t][sample.inside]
            (found,) = score_at(observed, sample, t, explanations[t][:, None], precise=True, stale=then)
            if stale is None and found.values["why_not"] is None:
                found = replace(found, values=found.values | {"why_not": NO_STALE})
            scores[split, t] = found
    return replace(own, scores=scores)
