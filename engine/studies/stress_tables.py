"""Results of the stress tests as tables and as Markdown: decoupling, monitoring, cost. No torch.

`decoupling`: one row a checkpoint; how post-training changed behavior, the frozen explanation and a fresh probe.
`monitoring`: detection of shifted slices without edits, for each set of checkpoints. `curves`: its ROC curves. `cost`:
model calls and fits that an explainer needs at a new checkpoint, and the Self that it reaches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from engine.probes.ridge import Ridge
from engine.progress import Progress, silent
from engine.runs.markdown import intervals, markdown_table
from engine.runs.observed import Observed, Place
from engine.runs.store import Run
from engine.stats import monitoring
from engine.stats.bootstrap import Resamples, bootstrap_pearson, bootstrap_weights, interval
from engine.stats.correlation import pearson
from engine.stats.monitoring import Shifts
from engine.studies.over_seeds import ends_of, with_ends
from engine.studies.stress_spec import StressSpec

TABLES = ("decoupling", "monitoring", "curves", "cost")
CURVES = ("false_alarms", "detected", "score", "task", "set", "threshold", "detector")
"""Columns of `curves`."""
STATISTICS = ("self", "orig", "gap", "unseen", "unseen_over_stale", "unseen_over_outputs", "self_minus_stale")
"""Columns of `decoupling` that come from the frozen ridge's metrics, with their intervals."""
SPLIT = "test_heldout"
WORLDS = {"": "gradual drift, 5 checkpoints", "-cue": "world cue", "-shared": "world shared (Δ held)"}
"""What follows the task in the name of a sample run → the label of its set of checkpoints."""


class HeldOut:
    """A run's held-out examples of the headline edit: behavior, the frozen ridge's explanations, bootstrap weights."""

    def __init__(self, run: Run, spec: StressSpec):
        self.run, self.observed = run, Observed(run, run.measured)
        self.edit = self.observed.headline_edits[0]
        self.rows = self.observed.rows(self.edit, SPLIT)
        self.examples = self.observed.examples.iloc[self.rows].reset_index(drop=True)
        rng = np.random.default_rng([spec.seed, 31])
        self.resamples: Resamples = bootstrap_weights(rng, spec.bootstrap, **self.observed.factors(self.rows))
        self.names = [c.name for c in run.measured.checkpoints]
        self.said = self._explanations()
        behavior = {name: self.observed.behavior(name).take(self.rows) for name in self.names}
        self.f = {name: own.f for name, own in behavior.items()}
        self.effects = {name: own.effect for name, own in behavior.items()}

    def _explanations(self) -> dict[str, np.ndarray]:
        """The frozen ridge's explanations without noise, [n] for each checkpoint."""
        table = self.run.read_table("explanations.parquet").to_pandas()
        is_it = table["control"].isna() & (table["explainer"] == "ridge") & (table["regime"] == "frozen")
        is_it &= (table["noise_kind"] == "none") & (table["edit"] == self.edit) & table["condition"].isna()
        own = table[is_it].astype({"example_id": str, "checkpoint": str})
        wide = own.pivot(index="example_id", columns="checkpoint", values="explanation").loc[
            self.examples["example_id"]
        ]
        return {name: wide[name].to_numpy(np.float64) for name in self.names}

    def metrics(self) -> pd.DataFrame:
        """The chosen settings' metrics on these examples, without noise."""
        rows = self.run.read_table("metrics.parquet").to_pandas()
        is_it = rows["chosen"] & (rows["split"] == SPLIT) & (rows["edit"] == self.edit) & (rows["noise_kind"] == "none")
        return rows[is_it]

    def shifts(self, kind: str = "gradual") -> Shifts:
        """Shifts of all slices at the later checkpoints of one kind (`kind_of`)."""
        chosen = [self.names[0], *(name for name in self.names[1:] if kind_of(name)[0] == kind)]
        quantities = ({name: own[name] for name in chosen} for own in (self.effects, self.f, self.said))
        watched, slices = monitoring.watch(self.examples, *quantities)
        return monitoring.shifts(watched, slices, self.resamples)


def tables(
    spec: StressSpec, made: Sequence[Run], samples: Path, progress: Progress = silent
) -> dict[str, pd.DataFrame]:
    """All tables; `made` are the stress runs, one a task, in the order of spec.tasks."""
    stressed: dict[str, HeldOut] = {task: HeldOut(run, spec) for task, run in zip(spec.tasks, made, strict=True)}
    known = {f"{task}{w}": HeldOut(Run.open(samples / f"{task}{w}"), spec) for task in spec.tasks for w in WORLDS}
    progress("tables", 0, 3)
    decoupled = pd.concat([decoupling(held_out, task) for task, held_out in stressed.items()])
    progress("tables", 1, 3)
    found, curves = detection(spec, stressed, known)
    progress("tables", 2, 3)
    costs = pd.concat([cost(spec, known[task], task) for task in spec.tasks])
    progress("tables", 3, 3)
    own = zip(TABLES, (decoupled, found, curves, costs), strict=True)
    return {name: table.reset_index(drop=True) for name, table in own}


# -- decoupling --------------------------------------------------------------------------------------


def kind_of(checkpoint: str) -> tuple[str, int]:
    """sharp, adversary or gradual, and the number of the drift."""
    words = checkpoint.split("--", 1)[1].split("-")
    return (words[0], int(words[1])) if words[0] in ("sharp", "adversary") else ("gradual", 0)


def decoupling(held_out: HeldOut, task: str) -> pd.DataFrame:
    """One row a checkpoint after the first: the metrics of the frozen ridge, of a fresh probe (`ceiling`) and of the
    stale one, and how far the explanation and the effects moved (root mean square, over their sd at the start)."""
    metrics = held_out.metrics()
    own = metrics[metrics["control"].isna() & (metrics["regime"] == "frozen") & (metrics["explainer"] == "ridge")]
    ceiling = metrics[metrics["control"] == "ceiling"]
    moving = {"explanation": held_out.said, "effect": held_out.effects, "output": held_out.f}
    first = held_out.names[0]
    rows = []
    for checkpoint in held_out.run.measured.checkpoints[1:]:
        name = checkpoint.name
        kind, drift = kind_of(name)
        values = own[own["checkpoint"] == name].iloc[0]
        row: dict[str, Any] = {"task": task, "checkpoint": name, "kind": kind, "drift": drift, "steps": checkpoint.step}
        row |= {c: values[c] for c in ("n", "n_groups", "target_current", "verdict_coupling")}
        for metric in STATISTICS:
            row |= with_ends(metric, ends_of(values, metric))
        row |= with_ends("fresh", ends_of(ceiling[ceiling["checkpoint"] == name].iloc[0], "self"))
        for what, at in moving.items():
            row |= with_ends(f"{what}_moved", _moved(at[name], at[first], held_out.resamples))
        rows.append(row)
    return pd.DataFrame(rows)


def _moved(now: np.ndarray, then: np.ndarray, resamples: Resamples) -> tuple[float, float, float]:
    """Root mean square of the change over the sd at the start, with its interval."""
    square, centred = (now - then) ** 2, (then - then.mean()) ** 2
    sums = resamples.sums(np.stack([square, centred], axis=1))
    low, high = interval(np.sqrt(sums[:, :1] / sums[:, 1:]))
    return float(np.sqrt(square.mean() / centred.mean())), float(low[0]), float(high[0])


# -- monitoring --------------------------------------------------------------------------------------


def detection(
    spec: StressSpec, stressed: dict[str, HeldOut], known: dict[str, HeldOut]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Detection over sets of checkpoints, at every threshold, by task and for all tasks together; and the curves."""
    by_task: dict[str, dict[str, Shifts]] = {}
    for task, held_out in stressed.items():
        sets = {label: known[f"{task}{world}"].shifts() for world, label in WORLDS.items()}
        sets["sharp drifts"] = held_out.shifts("sharp")
        sets["all of these"] = monitoring.pooled(list(sets.values()))
        sets["adversary"] = held_out.shifts("adversary")
        by_task[task] = sets
    together = {label: monitoring.pooled([sets[label] for sets in by_task.values()]) for label in sets}
    by_task["both" if len(stressed) == 2 else "all"] = together
    rows, curves = [], []
    for task, label, threshold in [(t, s, h) for t, sets in by_task.items() for s in sets for h in spec.thresholds]:
        found = by_task[task][label]
        detected = monitoring.detect(found, threshold)
        setting: dict[str, Any] = {"task": task, "set": label, "threshold": threshold}
        checkpoints = int((found.table["column"] == monitoring.EVERYTHING[0]).sum())
        row = setting | {"checkpoints": checkpoints, "pairs": detected.pairs, "events": detected.events}
        for name, values in detected.values.items():
            row |= with_ends(name, values)
        rows.append(row)
        curves += [curve.assign(**setting, detector=name) for name, curve in detected.curves.items()]
    return pd.DataFrame(rows), pd.concat(curves) if curves else pd.DataFrame(columns=list(CURVES))


# -- cost --------------------------------------------------------------------------------------------


def cost(spec: StressSpec, held_out: HeldOut, task: str) -> pd.DataFrame:
    """At each later checkpoint of the gradual drift: the cost of an explainer there, and its Self on held-out examples.

    A model call is one prompt through the model. Explaining an example takes one call with every explainer; counted are
    the calls needed before that: none for frozen, the states of the training prompts for refit, x and x' of each new
    edit for relabelling (the states of x come with them). Fits are ridge solutions. The Self after relabelling is a
    mean over draws.
    """
    metrics = held_out.metrics()
    chosen = metrics[metrics["control"].isna() & (metrics["explainer"] == "ridge")]
    train = held_out.observed.rows(held_out.edit, "train")
    rows = []
    for name in held_out.names[1:]:
        common = {"task": task, "checkpoint": name, "n": len(held_out.rows)}
        for regime, calls, fits in (("frozen", 0, 0), ("refit", len(train), 1)):
            own = chosen[(chosen["checkpoint"] == name) & (chosen["regime"] == regime)].iloc[0]
            values = with_ends("self", [float(value) for value in ends_of(own, "self")])
            rows.append(common | {"method": regime, "labels": 0, "calls": calls, "fits": fits} | values)
        for labels, selves in _relabelled(spec, held_out, name, train, chosen.iloc[0]):
            work = {"method": "relabel", "labels": labels, "calls": 2 * labels, "fits": 1}
            rows.append(common | work | with_ends("self", selves))
    table = pd.DataFrame(rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        table["calls_per_self"] = np.where(table["self_low"] > 0, table["calls"] / table["self"], np.nan)
    return table


def _relabelled(
    spec: StressSpec, held_out: HeldOut, checkpoint: str, train: np.ndarray, setting: pd.Series
) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Ridges fitted again to n of the checkpoint's own Δ: yields (n, (Self, low, high)) for each n of the spec."""
    place = Place(held_out.edit, "direct", "last", int(setting["layer"]))
    x, test = (held_out.observed.features(checkpoint, place, rows) for rows in (train, held_out.rows))
    effect, wanted = held_out.observed.behavior(checkpoint).effect[train], held_out.effects[checkpoint]
    for labels in [*(n for n in spec.labels if n < len(train)), len(train)]:
        rng = np.random.default_rng([spec.seed, 41, labels])
        drawn = [rng.permutation(len(train))[:labels] for _ in range(spec.draws if labels < len(train) else 1)]
        fits = [Ridge.fit(x[d]).predict(effect[d], [float(setting["penalty"])], test)[0, :, 0] for d in drawn]
        said = np.column_stack(fits)
        low, high = interval(bootstrap_pearson(held_out.resamples, said, wanted)[:, :, 0].mean(axis=1)[:, None])
        yield labels, (float(pearson(said, wanted).mean()), float(low[0]), float(high[0]))


# -- Markdown ----------------------------------------------------------------------------------------


def markdown(tables: dict[str, pd.DataFrame]) -> str:
    """The README's section, from the tables alone."""
    words = (_decoupling_words(tables["decoupling"]), _monitoring_words(tables["monitoring"]))
    return "\n\n".join([*words, _cost_words(tables["cost"])])


def _decoupling_words(table: pd.DataFrame) -> str:
    number = [
        f" {drift}" if kind != "gradual" else "" for kind, drift in zip(table["kind"], table["drift"], strict=True)
    ]
    signed = {"Self": "self", "Orig": "orig", "gap": "gap", "unseen": "unseen", "over stale": "unseen_over_stale"}
    columns = {
        "task, drift": table["task"] + ", " + table["kind"] + number,
        "ρ": intervals(table, "target_current", ends=()),
        "Δ moved": intervals(table, "effect_moved", ".2f"),
        "explanation moved": intervals(table, "explanation_moved", ".2f"),
        **{head: intervals(table, name) for head, name in (signed | {"a fresh probe's Self": "fresh"}).items()},
    }
    return markdown_table(columns)


def _monitoring_words(table: pd.DataFrame) -> str:
    threshold = table["threshold"].iloc[0]
    together = table["task"].isin(["both", "all"])  # the tables also hold each task by itself
    shown = table[(table["threshold"] == threshold) & together]
    columns = {
        "checkpoints": shown["set"],
        "pairs, events": shown["pairs"].astype(str) + ", " + shown["events"].astype(str),
        "area under the curve: predicted shift": intervals(shown, "area", ".2f"),
        "baseline: drift of f(x)": intervals(shown, "area_baseline", ".2f"),
        "difference": intervals(shown, "area_difference"),
        "r of signed shifts": intervals(shown, "r"),
        "baseline's r": intervals(shown, "r_baseline"),
    }
    return f"Events: slices whose mean Δ moved by more than {threshold:g} nats.\n\n" + markdown_table(columns)


def _cost_words(table: pd.DataFrame) -> str:
    last = table["checkpoint"] == table.groupby("task")["checkpoint"].transform("max")
    counts = np.unique(table["labels"])  # 0 is among them: frozen and refit need no new edits
    shown = table[last & table["labels"].isin(counts[[0, 1, len(counts) // 2, -1]])]
    columns = {
        "task, checkpoint": shown["task"] + ", " + shown["checkpoint"].str.split("--").str[1],
        "explainer": shown["method"] + [f", {n} new edits" if n else "" for n in shown["labels"]],
        "model calls": intervals(shown, "calls", ",.0f", ends=()),
        "fits": shown["fits"],
        "Self": intervals(shown, "self"),
        "calls per unit of Self": intervals(shown, "calls_per_self", ",.0f", ends=()),
    }
    return markdown_table(columns)
