"""The blind queue: which examples an auditor gets, drawn with a seed, and what −f(x) alone would say of them. Pure.

Strata are quadrants of agreement: with whose sign of the effect the explanation agrees. They are drawn equally, so
that rare ones are seen too, and then shuffled together: the place in the queue gives nothing away.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import linregress

from dashboard.charts import QUADRANTS, quadrants
from dashboard.reading.data import UNDECIDABLE

NO_NUMBER = "no number: explained in words only"
STRATA = (*QUADRANTS, NO_NUMBER)
SPREAD_SHARE = 0.1
"""Effects that lie nearer to each other than this share of the sd of Δ_current can't be told apart."""


def strata(rows: pd.DataFrame) -> pd.Categorical:
    """[n] of STRATA, from explanation, effect_current and effect_target."""
    explanation = rows["explanation"].to_numpy(np.float64)
    named = quadrants(explanation, rows["effect_current"].to_numpy(), rows["effect_target"].to_numpy())
    return pd.Categorical(np.where(np.isfinite(explanation), named, NO_NUMBER).astype(object), categories=STRATA)


def draw(strata: pd.Categorical, items: int, seed: int) -> np.ndarray:
    """Positions of the rows that are audited, in the order of the queue: `items` of them, or all if there are fewer.

    The same rows and seed give the same queue; a longer queue holds the examples of a shorter one.
    """
    pools = {code: np.flatnonzero(strata.codes == code) for code in sorted(set(strata.codes.tolist()))}
    turns = sorted((turn, code) for code, pool in pools.items() for turn in range(min(len(pool), items)))
    given = Counter(code for _, code in turns[:items])
    # Each stratum has a generator of its own, so that what it gives does not depend on the others.
    picked = [np.random.default_rng([seed, code]).permutation(pool)[: given[code]] for code, pool in pools.items()]
    together = np.concatenate([np.empty(0, np.int64), *picked])
    return np.random.default_rng([seed, len(strata.categories)]).permutation(together)


@dataclass(frozen=True)
class OutputScale:
    """Δ_target ≈ intercept + slope · f_target(x), fitted on the train split at the target for one kind of edit."""

    slope: float
    intercept: float
    n: int

    def says(self, f: float) -> float:
        """What the output f(x) alone says about Δ, nats."""
        return self.intercept + self.slope * f


def output_scale(behavior: pd.DataFrame, edit: str) -> OutputScale | None:
    """The control `output` is −f(x), which has no scale. This line puts it in nats by the same effects at the target
    that the explainer was trained on. None if the train split has fewer than 3 such examples, or f(x) is constant.

    behavior: split, edit, f_target, effect_target.
    """
    train = behavior[(behavior["split"] == "train") & (behavior["edit"] == edit)]
    f, effect = (train[c].to_numpy(np.float64) for c in ("f_target", "effect_target"))
    if len(train) < 3 or f.std() == 0:
        return None
    fit = linregress(f, effect)
    return OutputScale(float(fit.slope), float(fit.intercept), len(train))


def least_distance(effects: np.ndarray) -> float:
    """The distance of Δ_target and Δ_current from which on a verdict can tell them apart, nats: `UNDECIDABLE`, or a
    tenth of the spread of Δ_current [n] where that is more."""
    return max(UNDECIDABLE, SPREAD_SHARE * float(np.std(effects)))
