"""Explanations that a run did not keep, fitted again from its hidden states: other layers, other levels of noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import streamlit as st

from dashboard.reading import chosen, data
from dashboard.reading.tables import cached_per_run
from dashboard.refit import cached, live_ridge
from engine.stats.noise import noise_matrix


@cached_per_run(st.cache_data, max_entries=8, show_spinner="Refitting from the hidden states…")
def rows(
    path: Path, setting: data.Setting, split: str, edit: str | None, layer: int | None
) -> tuple[pd.DataFrame, str]:
    """The columns of `data.explanations`, and a line for the page that says how they were made.

    Each kind of edit has a ridge at its own penalty for the layer. Empty for other explainers, for the regime online,
    and if the run keeps no hidden states of the layer.
    """
    is_ridge = setting.explainer == "ridge" and setting.regime in ("frozen", "refit")
    kept = cached.layers(path, setting.checkpoint) if is_ridge else ()
    every = data.setting_metrics(path, setting, split=split, noise_kind="none")
    kinds = [edit] if edit is not None else sorted(every["edit"].dropna().unique())
    found = []
    for kind in kinds if kept and (layer is None or layer in kept) else []:
        own = chosen.best(chosen.for_layer(every[every["edit"] == kind], layer))
        own = own[own["position"].isna() | (own["position"] == "last")]
        if len(own) and pd.notna(own["penalty"].iloc[0]):
            found.append(_one(path, setting, split, kind, int(own["layer"].iloc[0]), float(own["penalty"].iloc[0])))
    if not found:
        return data.behavior(path, setting.checkpoint).iloc[:0].assign(explanation=np.nan, error=np.nan), ""
    frame = pd.concat(found, ignore_index=True)
    layers = ", ".join(str(v) for v in sorted(frame["layer"].unique()))
    return frame, (
        f"Refitted just now from the run's hidden states: ridge at layer {layers}, each edit at its own "
        "cross-validated penalty. The run itself keeps only the best layer, without noise and at 50%."
    )


def _one(path: Path, setting: data.Setting, split: str, edit: str, layer: int, penalty: float) -> pd.DataFrame:
    spec = data.spec(path)
    case = cached.RefitCase(path, setting.checkpoint, setting.regime, edit, split, data.stamp(path))
    train, test = cached.rows(case)
    made = cached.factorised(case, layer, len(train))
    targets = train["effect_target"].to_numpy(np.float64)
    levels, kinds = ([setting.noise], [setting.noise_kind]) if setting.noise > 0 else ([], [])
    noise = noise_matrix(targets, kinds, levels, spec.noise.seeds, seed=spec.seed)
    projected = made.ridge.project_targets(noise.basis)
    explanation = live_ridge.predictions(made, noise, projected, penalty, setting.noise)
    test = test.assign(explanation=explanation.astype(np.float32), layer=layer, text=None)
    return test.assign(error=(test["explanation"] - test["effect_current"]).abs(), output=-test["f_current"])
