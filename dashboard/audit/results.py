"""What the records of audits add up to: progress, errors in nats, agreement between reviewers. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from dashboard.audit.log import VERDICTS, Record, standing
from dashboard.text import signed

WHO = {"auditor": "the auditor", "explanation": "the explanation", "output": "−f(x), scaled"}
"""Whose errors are compared."""
LESS = "auditor less explanation"


def prediction(records: Sequence[Record], reviewer: str, run_hash: str, checkpoint: str, example: str) -> Record | None:
    """What a reviewer predicted of an example, in whatever queue: f(x′) has no secrets after that."""
    wanted = ("prediction", reviewer, run_hash, checkpoint, example)
    found = (r for r in records if (r.kind, r.reviewer, r.run_hash, r.checkpoint, r.example_id) == wanted)
    return next(found, None)


def verdicts(records: Sequence[Record], reviewer: str, run_hash: str, setting: str) -> dict[str, Record]:
    """A reviewer's standing verdicts on one setting's explanations, by example."""
    wanted = (reviewer, run_hash, setting)
    return {r.example_id: r for r in standing(records) if (r.reviewer, r.run_hash, r.setting) == wanted}


def judged(records: Sequence[Record], run_hash: str, setting: str) -> pd.DataFrame:
    """One row a standing verdict on this setting: reviewer, example_id, verdict, comment, stratum, and the errors of
    WHO (|predicted − Δ_current|, nats; NaN where there is no number)."""
    predicted = {r.id: r.predicted for r in records if r.kind == "prediction"}
    rows = []
    for r in standing(records):
        if (r.run_hash, r.setting) != (run_hash, setting):
            continue
        shown: dict[str, Any] = json.loads(r.shown)
        said = {"auditor": predicted.get(r.refers_to or 0), **{w: shown.get(w) for w in ("explanation", "output")}}
        row: dict[str, Any] = {
            "reviewer": r.reviewer,
            "example_id": r.example_id,
            "verdict": r.verdict,
            "comment": r.comment,
        }
        row |= {"stratum": shown.get("stratum"), "record": r.id}
        rows.append(row | {who: _error(value, shown.get("effect_current")) for who, value in said.items()})
    columns = ["reviewer", "example_id", "verdict", "comment", "stratum", "record", *WHO]
    return pd.DataFrame(rows, columns=columns).astype({who: "float64" for who in WHO})


def _error(said: float | None, measured: float | None) -> float:
    return float("nan") if said is None or measured is None else abs(said - measured)


@dataclass(frozen=True)
class Mean:
    """A mean error in nats with its 95% interval."""

    name: str
    n: int
    value: float | None
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """The mean as written: a difference with its sign, an error without."""
        return signed(self.value) if self.name == LESS else signed(self.value).lstrip("+")


def mean_errors(rows: pd.DataFrame, sizes: Mapping[str, int], *, draws: int = 2_000, seed: int = 0) -> list[Mean]:
    """Mean errors of WHO, and of the auditor less the explanation, over `judged` rows that have all that is compared.

    A stratum counts by its share of the population (`sizes`), since rare strata are drawn as often as common ones.
    Examples are resampled within strata, so there is no interval while a stratum has only one; several reviewers of
    one example go together.
    """
    rows = rows.dropna(subset=["auditor"])
    whose = [who for who in WHO if len(rows) and rows[who].notna().all()]
    made = {WHO[who]: rows[who].to_numpy() for who in whose}
    if {"auditor", "explanation"} <= set(whose):
        made[LESS] = rows["auditor"].to_numpy() - rows["explanation"].to_numpy()
    if not made:
        return []
    values = pd.DataFrame({**made, "stratum": rows["stratum"].to_numpy(), "example_id": rows["example_id"].to_numpy()})
    by_example = values.groupby(["stratum", "example_id"], dropna=False).mean().reset_index("stratum")
    names, rng = list(made), np.random.default_rng(seed)
    total, drawn, weight, lone = np.zeros(len(names)), np.zeros((draws, len(names))), 0.0, False
    for stratum, part in by_example.groupby("stratum", dropna=False):
        share = float(sizes.get(str(stratum), 1))
        x = part[names].to_numpy()
        weight, lone = weight + share, lone or len(x) < 2
        total += share * x.mean(axis=0)
        drawn += share * x[rng.integers(0, len(x), (draws, len(x)))].mean(axis=1)
    n = len(by_example)
    low, high = np.percentile(drawn / weight, [2.5, 97.5], axis=0)
    return [
        Mean(name, n, float(total[i] / weight), None if lone else float(low[i]), None if lone else float(high[i]))
        for i, name in enumerate(names)
    ]


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two reviewers on the examples that both judged, with a bootstrap interval over examples."""

    first: str
    second: str
    n: int
    same: int
    """On how many of them the two gave the same verdict."""
    value: float | None
    low: float | None
    high: float | None
    words: str
    """Why there is no number or no interval, else how to read it."""


def kappas(rows: pd.DataFrame, *, draws: int = 2_000, seed: int = 0) -> list[Kappa]:
    """Of every pair of reviewers in `judged` rows that share an example."""
    wide = rows.pivot(index="example_id", columns="reviewer", values="verdict")
    pairs = ((a, b, wide[[a, b]].dropna()) for a, b in combinations(sorted(wide.columns), 2))
    return [_kappa(a, b, both[a].to_numpy(), both[b].to_numpy(), draws, seed) for a, b, both in pairs if len(both)]


def _kappa(first: str, second: str, a: np.ndarray, b: np.ndarray, draws: int, seed: int) -> Kappa:
    n, same = len(a), int((a == b).sum())
    if n < 2:
        return Kappa(first, second, n, same, None, None, None, "undefined: one shared example says nothing")
    if len({*a, *b}) == 1:
        words = "undefined: both gave one and the same verdict throughout, so chance alone would agree as often"
        return Kappa(first, second, n, same, None, None, None, words)
    value = float(cohen_kappa_score(a, b, labels=list(VERDICTS)))
    low, high, defined = _interval(a, b, draws, seed)
    if defined < 0.95:
        words = f"no interval: kappa is undefined in {1 - defined:.0%} of the resamples"
        return Kappa(first, second, n, same, value, None, None, words)
    return Kappa(first, second, n, same, value, low, high, grade(value, n))


def _interval(a: np.ndarray, b: np.ndarray, draws: int, seed: int) -> tuple[float, float, float]:
    """Percentile interval, and the share of resamples in which kappa is defined. Kappa rests on the counts of pairs of
    verdicts alone, so that examples are resampled by drawing counts."""
    names = list(VERDICTS)
    table = np.zeros((len(names), len(names)))
    np.add.at(table, ([names.index(v) for v in a], [names.index(v) for v in b]), 1)
    n = len(a)
    drawn = np.random.default_rng(seed).multinomial(n, table.ravel() / n, draws).reshape(draws, *table.shape) / n
    observed = np.trace(drawn, axis1=1, axis2=2)
    chance = (drawn.sum(axis=1) * drawn.sum(axis=2)).sum(axis=1)
    defined = chance < 1 - 1e-12
    kappa = (observed[defined] - chance[defined]) / (1 - chance[defined])
    if not len(kappa):
        return float("nan"), float("nan"), 0.0
    low, high = np.percentile(kappa, [2.5, 97.5])
    return float(low), float(high), float(defined.mean())


def grade(kappa: float, n: int) -> str:
    """Landis and Koch's words, which are a convention, and a warning where there are few."""
    steps = ((0.8, "almost perfect"), (0.6, "substantial"), (0.4, "moderate"), (0.2, "fair"), (0.0, "slight"))
    word = next((w for least, w in steps if kappa > least), "none beyond chance")
    return word + (f"; only {n} shared examples" if n < 30 else "")
