"""What the stress tests found, as tables and as the README's words: decoupling, monitoring, cost. No torch.

`decoupling`: one row a checkpoint; what post-training did to behavior, to the frozen explanation and to a fresh probe.
`monitoring`: detection of shifted slices without edits, for each set of checkpoints. `curves`: its ROC curves. `cost`:
model calls and fits for an explainer at a new checkpoint, and the Self that they buy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from engine.config import StressSpec
from engine.probes.ridge import Ridge
from engine.progress import Progress, silent
from engine.runs.observed import Observed, Place
from engine.runs.store import Run
from engine.stats import monitoring
from engine.stats.correlation import Resamples, bootstrap_pearson, bootstrap_weights, interval, pearson
from engine.stats.monitoring import Shifts

TABLES = ("decoupling", "monitoring", "curves", "cost")
CURVES = ("false_alarms", "detected", "score", "task", "set", "threshold", "detector")
"""Columns of `curves`."""
EDIT, SPLIT = "delete_cue", "test_heldout"
WORLDS = {"": "gradual drift, 5 checkpoints", "-cue": "world cue", "-shared": "world shared (Δ held)"}
"""Sample runs by what follows the task in their names."""


class Evaluated:
    """One run's held-out examples of one edit: behavior, the frozen ridge's explanations, bootstrap weights."""

    def __init__(self, run: Run, spec: StressSpec):
        self.run, self.observed = run, Observed(run, run.spec)
        self.rows = self.observed.rows(EDIT, SPLIT)
        self.examples = self.observed.examples.iloc[self.rows].reset_index(drop=True)
        rng = np.random.default_rng([spec.seed, 31])
        self.resamples: Resamples = bootstrap_weights(rng, spec.bootstrap, **self.observed.factors(self.rows))
        self.names = [c.name for c in run.spec.checkpoints]
        self.said = self._explanations()
        self.f, self.effects = {}, {}
        for name in self.names:
            behavior = self.observed.behavior(name).take(self.rows)
            self.f[name], self.effects[name] = behavior.f, behavior.effect

    def _explanations(self) -> dict[str, np.ndarray]:
        """The frozen ridge's, noise-free, [n] a checkpoint."""
        table = self.run.read_table("explanations.parquet").to_pandas()
        is_it = table["control"].isna() & (table["explainer"] == "ridge") & (table["regime"] == "frozen")
        is_it &= (table["noise_kind"] == "none") & (table["edit"] == EDIT) & table["condition"].isna()
        own = table[is_it].astype({"example_id": str, "checkpoint": str})
        ids = self.examples["example_id"].tolist()
        return {
            name: own[own["checkpoint"] == name].set_index("example_id")["explanation"].loc[ids].to_numpy(np.float64)
            for name in self.names
        }

    def shifts(self, names: Sequence[str]) -> Shifts:
        chosen = [self.names[0], *names]
        watched, slices = monitoring.watch(
            self.examples,
            {n: self.effects[n] for n in chosen},
            {n: self.f[n] for n in chosen},
            {n: self.said[n] for n in chosen},
        )
        return monitoring.shifts(watched, slices, self.resamples)


def tables(
    spec: StressSpec, made: Sequence[Run], samples: Path, progress: Progress = silent
) -> dict[str, pd.DataFrame]:
    """All tables; `made` are the stress runs, one a task, in the order of spec.tasks."""
    stressed = [Evaluated(run, spec) for run in made]
    known: dict[tuple[str, str], Evaluated] = {
        (task, world): Evaluated(Run.open(samples / f"{task}{world}"), spec) for task in spec.tasks for world in WORLDS
    }
    progress("tables", 0, 3)
    decoupled = pd.concat([decoupling(e, task) for e, task in zip(stressed, spec.tasks, strict=True)])
    progress("tables", 1, 3)
    found, curves = watch(spec, stressed, known)
    progress("tables", 2, 3)
    costs = pd.concat([cost(spec, known[task, ""], task) for task in spec.tasks])
    progress("tables", 3, 3)
    made_tables = (decoupled, found, curves, costs)
    return {name: table.reset_index(drop=True) for name, table in zip(TABLES, made_tables, strict=True)}


# -- decoupling --------------------------------------------------------------------------------------


def kind_of(checkpoint: str) -> tuple[str, int]:
    """sharp, adversary or gradual, and the number of the drift."""
    words = checkpoint.split("--", 1)[1].split("-")
    return (words[0], int(words[1])) if words[0] in ("sharp", "adversary") else ("gradual", 0)


def decoupling(evaluated: Evaluated, task: str) -> pd.DataFrame:
    """One row a checkpoint after the first: the metrics of the frozen ridge, of a fresh probe (`ceiling`) and of the
    stale one, and how far the explanation and the effects moved (root mean square, over their sd at the start)."""
    run = evaluated.run
    metrics = run.read_table("metrics.parquet").to_pandas()
    metrics = metrics[(metrics["split"] == SPLIT) & (metrics["edit"] == EDIT) & metrics["chosen"]]
    own = metrics[metrics["control"].isna() & (metrics["regime"] == "frozen") & (metrics["explainer"] == "ridge")]
    first = evaluated.names[0]
    rows = []
    for name in evaluated.names[1:]:
        kind, drift = kind_of(name)
        values = own[own["checkpoint"] == name].iloc[0]
        row: dict = {"task": task, "checkpoint": name, "kind": kind, "drift": drift}
        row |= {"steps": next(c.step for c in run.spec.checkpoints if c.name == name)}
        row |= {c: values[c] for c in ("n", "n_groups", "target_current", "verdict_coupling")}
        for metric in ("self", "orig", "gap", "counterfactual_gap", "change_tracking", "self_minus_stale"):
            row |= {f"{metric}{end}": values[f"{metric}{end}"] for end in ("", "_low", "_high")}
        fresh = metrics[(metrics["control"] == "ceiling") & (metrics["checkpoint"] == name)]
        row |= {f"fresh{end}": fresh[f"self{end}"].iloc[0] if len(fresh) else np.nan for end in ("", "_low", "_high")}
        moved = {
            "explanation_moved": (evaluated.said[name], evaluated.said[first]),
            "effect_moved": (evaluated.effects[name], evaluated.effects[first]),
            "output_moved": (evaluated.f[name], evaluated.f[first]),
        }
        for what, (now, then) in moved.items():
            row |= dict(zip((what, f"{what}_low", f"{what}_high"), _moved(now, then, evaluated.resamples), strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _moved(now: np.ndarray, then: np.ndarray, resamples: Resamples) -> tuple[float, float, float]:
    """Root mean square of the change over the sd at the start, with its interval."""
    square, centred = (now - then) ** 2, (then - then.mean()) ** 2
    sums = resamples.sums(np.stack([square, centred], axis=1))
    low, high = interval(np.sqrt(sums[:, :1] / sums[:, 1:]))
    return float(np.sqrt(square.mean() / centred.mean())), float(low[0]), float(high[0])


# -- monitoring --------------------------------------------------------------------------------------


def watch(
    spec: StressSpec, stressed: Sequence[Evaluated], known: dict[tuple[str, str], Evaluated]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detection over sets of checkpoints, at every threshold, by task and for all tasks together; and the curves."""
    sets: dict[tuple[str, str], Shifts] = {}
    for task, evaluated in zip(spec.tasks, stressed, strict=True):
        worlds = {label: known[task, world] for world, label in WORLDS.items()}
        of_world = {label: e.shifts(e.names[1:]) for label, e in worlds.items()}
        for label, found in of_world.items():
            sets[task, label] = found
        kinds = {kind: [n for n in evaluated.names if kind_of(n)[0] == kind] for kind in ("sharp", "adversary")}
        sets[task, "sharp drifts"] = evaluated.shifts(kinds["sharp"])
        sets[task, "all of these"] = monitoring.pooled([*of_world.values(), sets[task, "sharp drifts"]])
        sets[task, "adversary"] = evaluated.shifts(kinds["adversary"])
    for label in list(dict.fromkeys(label for _, label in sets)):
        sets["both" if len(spec.tasks) == 2 else "all", label] = monitoring.pooled(
            [found for (_, own), found in sets.items() if own == label]
        )
    rows, curves = [], []
    for (name_of_task, label), found in sets.items():
        for threshold in spec.thresholds:
            detected = monitoring.detect(found, threshold)
            row: dict = {"task": name_of_task, "set": label, "threshold": threshold, "checkpoints": _checkpoints(found)}
            row |= {"pairs": detected.pairs, "events": detected.events}
            for name, values in detected.values.items():
                row |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
            rows.append(row)
            curves += [
                curve.assign(task=name_of_task, set=label, threshold=threshold, detector=name)
                for name, curve in detected.curves.items()
            ]
    return pd.DataFrame(rows), pd.concat(curves) if curves else pd.DataFrame(columns=list(CURVES))


def _checkpoints(found: Shifts) -> int:
    return int((found.table["column"] == monitoring.EVERYTHING[0]).sum())


# -- cost --------------------------------------------------------------------------------------------


def cost(spec: StressSpec, evaluated: Evaluated, task: str) -> pd.DataFrame:
    """At each later checkpoint of the gradual drift: what an explainer costs there, and its Self on held-out examples.

    A model call is one prompt through the model. Explaining an example takes one call whatever the explainer; counted
    is what has to be done before: frozen none, refit the states of the training prompts, relabelling x and x' of each
    new edit (the states of x come with them). Fits are ridge solutions. Relabelled Selves are means over draws.
    """
    run, observed = evaluated.run, evaluated.observed
    metrics = run.read_table("metrics.parquet").to_pandas()
    chosen = metrics[metrics["chosen"] & metrics["control"].isna() & (metrics["explainer"] == "ridge")]
    chosen = chosen[(chosen["split"] == SPLIT) & (chosen["noise_kind"] == "none")]
    setting = chosen.iloc[0]
    place = Place(EDIT, "direct", "last", int(setting["layer"]))
    train = observed.rows(EDIT, "train")
    rows = []
    for name in evaluated.names[1:]:
        common = {"task": task, "checkpoint": name, "n": len(evaluated.rows)}
        for regime, calls, fits in (("frozen", 0, 0), ("refit", len(train), 1)):
            own = chosen[(chosen["checkpoint"] == name) & (chosen["regime"] == regime)].iloc[0]
            values = {f"self{end}": float(own[f"self{end}"]) for end in ("", "_low", "_high")}
            rows.append(common | {"method": regime, "labels": 0, "calls": calls, "fits": fits} | values)
        x, test = (observed.features(name, place, r) for r in (train, evaluated.rows))
        effect = observed.behavior(name).effect[train]
        for labels in [*(n for n in spec.labels if n < len(train)), len(train)]:
            rng = np.random.default_rng([spec.seed, 41, labels])
            drawn = [rng.permutation(len(train))[:labels] for _ in range(spec.draws if labels < len(train) else 1)]
            said = np.column_stack(
                [Ridge.fit(x[d]).predict(effect[d], [float(setting["penalty"])], test)[0, :, 0] for d in drawn]
            )
            own_draws = bootstrap_pearson(evaluated.resamples, said, evaluated.effects[name])[:, :, 0].mean(axis=1)
            low, high = interval(own_draws[:, None])
            values = {"self": float(pearson(said, evaluated.effects[name]).mean())}
            values |= {"self_low": float(low[0]), "self_high": float(high[0])}
            rows.append(common | {"method": "relabel", "labels": labels, "calls": 2 * labels, "fits": 1} | values)
    table = pd.DataFrame(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        table["calls_per_self"] = np.where(table["self_low"] > 0, table["calls"] / table["self"], np.nan)
    return table


# -- words -------------------------------------------------------------------------------------------


def markdown(tables: dict[str, pd.DataFrame]) -> str:
    """The README's section, from the tables alone."""
    return "\n\n".join(
        [
            _decoupling_words(tables["decoupling"]),
            _monitoring_words(tables["monitoring"]),
            _cost_words(tables["cost"]),
        ]
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _number(row: pd.Series, name: str, sign: bool = True) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "–"
    form = "{:+.2f}" if sign else "{:.2f}"
    if pd.isna(low):
        return form.format(value)
    return f"{form.format(value)} [{form.format(low)}, {form.format(high)}]"


def _decoupling_words(table: pd.DataFrame) -> str:
    header = (
        "task, drift", "ρ", "Δ moved", "explanation moved", "Self", "Orig", "gap", "change tracking",
        "a fresh probe's Self",
    )  # fmt: skip
    rows = [
        (
            f"{row['task']}, {row['kind']}" + ("" if row["kind"] == "gradual" else f" {row['drift']}"),
            f"{row['target_current']:+.2f}",
            *(_number(row, name, sign=False) for name in ("effect_moved", "explanation_moved")),
            *(_number(row, name) for name in ("self", "orig", "gap", "change_tracking", "fresh")),
        )
        for _, row in table.iterrows()
    ]
    return _table(header, rows)


def _monitoring_words(table: pd.DataFrame) -> str:
    header = (
        "checkpoints", "pairs, events", "area under the curve: predicted shift", "baseline: drift of f(x)",
        "difference", "r of signed shifts", "baseline's r",
    )  # fmt: skip
    threshold = table["threshold"].unique()[0]
    together = table["task"].isin(["both", "all"])  # each task by itself stands in the tables
    rows = [
        (
            row["set"],
            f"{row['pairs']}, {row['events']}",
            *(_number(row, name, sign=False) for name in ("area", "area_baseline")),
            *(_number(row, name) for name in ("area_difference", "r", "r_baseline")),
        )
        for _, row in table[(table["threshold"] == threshold) & together].iterrows()
    ]
    return f"Events: slices whose mean Δ moved by more than {threshold:g} nats.\n\n" + _table(header, rows)


def _cost_words(table: pd.DataFrame) -> str:
    header = ("task, checkpoint", "explainer", "model calls", "fits", "Self", "calls per unit of Self")
    last = table["checkpoint"] == table.groupby("task")["checkpoint"].transform("max")
    counts = np.unique(table["labels"])  # 0 among them, for what needs no new edits
    last &= table["labels"].isin(counts[[0, 1, len(counts) // 2, -1]])
    rows = [
        (
            f"{row['task']}, {row['checkpoint'].split('--', 1)[1]}",
            row["method"] + (f", {row['labels']} new edits" if row["labels"] else ""),
            f"{row['calls']:,}",
            str(row["fits"]),
            _number(row, "self"),
            "–" if pd.isna(row["calls_per_self"]) else f"{row['calls_per_self']:,.0f}",
        )
        for _, row in table[last].iterrows()
    ]
    return _table(header, rows)
