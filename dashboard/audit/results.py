"""What the records of audits add up to: progress, errors in nats, agreement between reviewers. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from dashboard.audit.log import VERDICTS, Record, standing_verdicts
from dashboard.text import signed

WHO = {"auditor": "the auditor", "explanation": "the explanation", "output": "−f(x), scaled"}
"""Whose errors are compared."""
DIFFERENCE = "auditor less explanation"
DRAWS = 2_000
"""Bootstrap draws of each interval."""


def verdicts_of(records: Sequence[Record], reviewer: str, run_hash: str, setting: str) -> dict[str, Record]:
    """A reviewer's standing verdicts on one setting's explanations, by example."""
    wanted = (reviewer, run_hash, setting)
    return {r.example_id: r for r in standing_verdicts(records) if (r.reviewer, r.run_hash, r.setting) == wanted}


def judged(records: Sequence[Record], run_hash: str, setting: str) -> pd.DataFrame:
    """One row a standing verdict on this setting: reviewer, example_id, verdict, stratum, and the errors of WHO
    (|predicted − Δ_current|, nats; NaN where there is no number)."""
    predicted = {r.id: r.predicted for r in records if r.kind == "prediction"}
    names = ("explanation", "output", "effect_current")
    rows = []
    for r in standing_verdicts(records):
        if (r.run_hash, r.setting) == (run_hash, setting):
            shown = json.loads(r.shown)
            said = [predicted.get(r.refers_to or 0), *(shown.get(name) for name in names)]
            rows.append((r.reviewer, r.example_id, r.verdict, shown.get("stratum"), *said))
    frame = pd.DataFrame(rows, columns=["reviewer", "example_id", "verdict", "stratum", "auditor", *names])
    numbers = frame[["auditor", *names]].astype("float64")
    frame[list(WHO)] = numbers[list(WHO)].sub(numbers["effect_current"], axis=0).abs()
    return frame.drop(columns="effect_current")


@dataclass(frozen=True)
class MeanError:
    """A mean error in nats with its 95% interval."""

    name: str
    n: int
    value: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The mean as written: a difference with its sign, an error without."""
        return signed(self.value) if self.name == DIFFERENCE else signed(self.value).lstrip("+")


def mean_errors(rows: pd.DataFrame, sizes: Mapping[str, int], *, draws: int = 2_000, seed: int = 0) -> list[MeanError]:
    """Mean errors of WHO, and of the auditor less the explanation, over `judged` rows that have all that is compared.

    A stratum counts by its share of the population (`sizes`), since rare strata are drawn as often as common ones.
    Examples are resampled within strata, so there is no interval while a stratum has only one; several reviewers of
    one example go together.
    """
    rows = rows.dropna(subset=["auditor"])
    values = rows[["stratum", "example_id"]].copy()
    for who, name in WHO.items():
        if len(rows) and rows[who].notna().all():
            values[name] = rows[who]
    if {WHO["auditor"], WHO["explanation"]} <= {*values}:
        values[DIFFERENCE] = rows["auditor"] - rows["explanation"]
    names = [name for name in (*WHO.values(), DIFFERENCE) if name in values]
    if not names:
        return []
    by_example = values.groupby(["stratum", "example_id"], dropna=False).mean().reset_index("stratum")
    rng = np.random.default_rng(0)
    total, drawn, weight, lone = np.zeros(len(names)), np.zeros((DRAWS, len(names))), 0.0, False
    for stratum, part in by_example.groupby("stratum", dropna=False):
        share = float(sizes.get(str(stratum), 1))
        x = part[names].to_numpy()
        weight, lone = weight + share, lone or len(x) < 2
        total += share * x.mean(axis=0)
        drawn += share * x[rng.integers(0, len(x), (DRAWS, len(x)))].mean(axis=1)
    n, ends = len(by_example), np.percentile(drawn / weight, [2.5, 97.5], axis=0).T.tolist()
    return [
        MeanError(name, n, value, *((None, None) if lone else interval))
        for name, value, interval in zip(names, (total / weight).tolist(), ends, strict=True)
    ]


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two reviewers on the examples that both judged, with a bootstrap interval over examples."""

    first: str
    second: str
    n: int
    same: int
    """The number of examples that got the same verdict from both."""
    words: str
    """Why there is no number or no interval, else how to read it."""
    value: float | None = None
    low: float | None = None
    high: float | None = None


def kappas(rows: pd.DataFrame) -> list[Kappa]:
    """Agreement of every pair of reviewers in `judged` rows that share an example."""
    wide = rows.pivot(index="example_id", columns="reviewer", values="verdict")
    pairs = ((a, b, wide[[a, b]].dropna()) for a, b in combinations(sorted(wide.columns), 2))
    return [_kappa(a, b, both[a], both[b]) for a, b, both in pairs if len(both)]


def _kappa(first: str, second: str, a: pd.Series, b: pd.Series) -> Kappa:
    n, same = len(a), int((a == b).sum())
    if n < 2:
        return Kappa(first, second, n, same, "undefined: one shared example says nothing")
    if len({*a, *b}) == 1:
        words = "undefined: both gave one and the same verdict throughout, so chance alone would agree as often"
        return Kappa(first, second, n, same, words)
    names = list(VERDICTS)
    counts = pd.crosstab(a, b).reindex(index=names, columns=names, fill_value=0).to_numpy()
    value, drawn = float(cohen_kappa(counts)), resampled_kappa(counts)
    undefined = float(np.isnan(drawn).mean())
    if undefined > 0.05:
        return Kappa(
            first, second, n, same, f"no interval: kappa is undefined in {undefined:.0%} of the resamples", value
        )
    low, high = np.nanpercentile(drawn, [2.5, 97.5]).tolist()
    return Kappa(first, second, n, same, landis_koch(value, n), value, low, high)


def cohen_kappa(counts: np.ndarray) -> np.ndarray:
    """Cohen's kappa of tables [..., k, k] that count pairs of verdicts; NaN where chance alone always agrees."""
    share = counts / counts.sum(axis=(-2, -1), keepdims=True)
    observed = np.trace(share, axis1=-2, axis2=-1)
    chance = (share.sum(axis=-2) * share.sum(axis=-1)).sum(axis=-1)
    beyond = np.where(chance < 1 - 1e-12, 1 - chance, np.nan)
    return (observed - chance) / beyond


def resampled_kappa(counts: np.ndarray, draws: int = DRAWS) -> np.ndarray:
    """Kappa in every bootstrap draw [draws]. It rests on the counts alone, so examples are resampled as counts."""
    n = int(counts.sum())
    drawn = np.random.default_rng(0).multinomial(n, counts.ravel() / n, draws)
    return cohen_kappa(drawn.reshape(draws, *counts.shape))


def landis_koch(kappa: float, n: int) -> str:
    """Landis and Koch's words, which are a convention, and a warning where there are few examples."""
    steps = ((0.8, "almost perfect"), (0.6, "substantial"), (0.4, "moderate"), (0.2, "fair"), (0.0, "slight"))
    word = next((w for least, w in steps if kappa > least), "none beyond chance")
    return word + (f"; only {n} shared examples" if n < 30 else "")
