"""Within-prompt span ranking: whether explanations rank the edits of one prompt as their measured effects do.

Kendall's τ over the pairs of a prompt's edits (1: ranked as measured, 0: at random, −1: the other way round), averaged
over prompts. The metrics of a run hold the same number as `span_ranking`; here it has an interval, from a bootstrap
over groups.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import agreement, data
from dashboard.reading.tables import cached_per_run
from engine.stats.bootstrap import interval

MOST_EXPLAINED = 200_000
"""Above this many explained examples at one checkpoint, only the run's own metrics are shown."""


def per_prompt(rows: pd.DataFrame) -> pd.DataFrame:
    """prompt_id, tau, edits, group, cue, entity: one row for each prompt with two edits or more.

    rows: prompt_id, explanation, effect_current, group, cue, entity, one row for each edit.
    """
    rows = agreement.explained(rows).sort_values("prompt_id", kind="stable").reset_index(drop=True)
    prompt = rows["prompt_id"].to_numpy()
    e, effect = (rows[c].to_numpy(np.float64) for c in ("explanation", "effect_current"))
    edits = rows.groupby("prompt_id")["explanation"].transform("size").to_numpy()
    total = np.zeros(len(rows))
    for apart in range(1, int(edits.max(initial=0))):  # pairs that lie `apart` rows apart in one prompt
        first = np.flatnonzero(prompt[apart:] == prompt[:-apart])
        total[first] += np.sign(e[first + apart] - e[first]) * np.sign(effect[first + apart] - effect[first])
    found = rows[["prompt_id", "group", "cue", "entity"]].assign(edits=edits, total=total)
    found["total"] = found.groupby("prompt_id")["total"].transform("sum")
    found = found[found["edits"] > 1].drop_duplicates("prompt_id").reset_index(drop=True)
    return found.assign(tau=found["total"] / (found["edits"] * (found["edits"] - 1) / 2)).drop(columns="total")


def mean_tau(rows: pd.DataFrame, draws: int = 400, seed: int = 0) -> dict[str, float | int]:
    """tau, tau_low, tau_high, n (prompts), n_groups; rows as for `per_prompt`. Empty where no prompt has two edits."""
    prompts = per_prompt(rows)
    if prompts.empty:
        return {}
    drawn = agreement.weighted_means(agreement.resamples(prompts, draws, seed), prompts["tau"].to_numpy())
    low, high = (float(end) for end in interval(drawn))
    mean, groups = float(prompts["tau"].mean()), int(prompts["group"].nunique(dropna=False))
    return {"tau": mean, "tau_low": low, "tau_high": high, "n": len(prompts), "n_groups": groups}


@cached_per_run(st.cache_data, max_entries=32, show_spinner="Ranking the edits of each prompt")
def over_checkpoints(path: Path, setting: data.Setting, split: str) -> pd.DataFrame:
    """regime, checkpoint, step and the numbers of `mean_tau`, one row for each checkpoint, whichever the setting has.

    Empty if no prompt has two edits, or above `MOST_EXPLAINED` examples.
    """
    run, found = data.options(path), []
    for name in run.checkpoints:
        at = replace(setting, checkpoint=name)
        few = len(data.explained_rows(path, at, split)) <= MOST_EXPLAINED
        made = mean_tau(data.explanations(path, at, split=split)) if few else {}
        if not made:
            return pd.DataFrame()
        found.append({"regime": setting.regime, "checkpoint": name, "step": run.steps[name]} | made)
    return pd.DataFrame(found)
