"""From explanations to the rows of metrics.parquet: scores, controls, nulls and verdicts, by split and checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.config import CheckpointSpec, Regime
from engine.probes.regimes import ceiling
from engine.probes.regimes import explain as predict
from engine.probes.ridge import grouped_folds
from engine.probes.setting import CLEAN, Explained, Setting
from engine.probes.text_controls import TextControl, output
from engine.progress import Progress
from engine.run.observed import EVALUATED, Observed, Place
from engine.stats.correlation import Resamples, bootstrap_weights
from engine.stats.faithfulness import Behavior, Null, Score, null, score, span_ranking, verdicts
from engine.stats.noise import NoiseLabel, shuffled_targets

TEXT_FOLDS = 2
"""Of each factor, for the penalty of the text controls: their features are many, so every fit costs seconds."""


def naming(
    observed: Observed,
    checkpoint: CheckpointSpec,
    setting: Setting,
    regime: Regime,
    label: NoiseLabel = CLEAN,
    control: str | None = None,
) -> dict[str, Any]:
    """The columns that name a setting (records.SETTING) and `chosen`."""
    place = setting.place
    return {
        "checkpoint": checkpoint.name,
        "target": observed.target,
        "step": checkpoint.step,
        "explainer": setting.kind,
        "condition": setting.condition,
        "control": control,
        "edit": place.edit,
        "mode": place.mode,
        "position": place.position,
        "layer": place.layer,
        "penalty": setting.penalty,
        "regime": regime,
        "noise_kind": label.kind,
        "noise": label.level,
        "chosen": setting.chosen,
    }


@dataclass
class Kept:
    """What of a best setting is needed again when all of them are scored: its clean scores and explanations."""

    setting: Setting
    regime: Regime
    rows: np.ndarray
    clean: list[np.ndarray]
    """[n] a checkpoint, averaged over seeds."""
    stale: list[np.ndarray]
    """The same of the stale explanations."""
    scores: dict[tuple[str, int], Score]
    """By split and number of the checkpoint."""
    row_numbers: dict[tuple[str, int], int]
    """Where in the rows the clean score stands."""


class Scorer:
    """Collects the rows of a run. `add` every Explained, then `controls`, then take `rows`."""

    def __init__(self, observed: Observed):
        self.observed = observed
        self.spec = observed.spec
        self._rows: list[dict[str, Any]] = []
        self._resamples: dict[tuple[str, str], Resamples] = {}
        self._kept: list[Kept] = []
        self._nulls: dict[tuple[Place, Regime], dict[tuple[str, int], Null]] = {}

    # -- scoring ---------------------------------------------------------------------------------

    def add(self, explained: Explained) -> None:
        """Score one setting under one regime, a row for every checkpoint, split and noise level."""
        setting = explained.setting
        keys = [(label.kind, label.level) for label in explained.labels]
        distinct = list(dict.fromkeys(keys))
        average = [distinct.index(key) for key in keys]
        clean = [i for i, key in enumerate(keys) if key == distinct[0]]
        now = [e[:, clean].mean(axis=1) for e in explained.explanations]
        then = [e[:, clean].mean(axis=1) for e in explained.stale]
        kept = Kept(setting, explained.regime, explained.rows, now, then, {}, {})
        for t, checkpoint in enumerate(self.spec.checkpoints):
            for split in EVALUATED:
                scores = self.score(
                    setting.place.edit,
                    split,
                    checkpoint.name,
                    explained.explanations[t],
                    stale=explained.stale[t],
                    at_start=explained.explanations[0],
                    average=average,
                )
                for number, own in enumerate(scores):
                    kind, level = distinct[number]
                    row = naming(self.observed, checkpoint, setting, explained.regime, NoiseLabel(kind, level, 0))
                    columns = [i for i, a in enumerate(average) if a == number]
                    noisy_clean = float(np.mean(explained.noisy_clean[columns]))
                    row |= {"split": split, "cv": setting.cv, "noisy_clean": noisy_clean} | own.values
                    if number == 0:
                        kept.scores[split, t], kept.row_numbers[split, t] = own, len(self._rows)
                    self._rows.append(row)
        if setting.best:
            self._kept.append(kept)

    def score(
        self,
        edit: str,
        split: str,
        checkpoint: str,
        explanations: np.ndarray,
        *,
        stale: np.ndarray | None = None,
        at_start: np.ndarray | None = None,
        average: Sequence[int] | None = None,
    ) -> list[Score]:
        """Scores of explanations [evaluated rows of the edit, k] on one split; none where the split has no rows."""
        inside, rows = self.inside(edit, split)
        if len(rows) < 3:
            return []
        observed = self.observed
        return score(
            explanations[inside],
            observed.behavior(checkpoint).take(rows),
            observed.behavior(observed.target).take(rows),
            self.resamples(edit, split),
            stale=None if stale is None else stale[inside],
            at_start=None if at_start is None else at_start[inside],
            start=observed.behavior(observed.start).take(rows),
            average=average,
            confidence=self.spec.metrics.confidence,
        )

    def inside(self, edit: str, split: str) -> tuple[np.ndarray, np.ndarray]:
        """A split's places among the evaluated rows of an edit, and the rows themselves."""
        rows = self.observed.rows(edit, *EVALUATED)
        is_in = self.observed.examples["split"].to_numpy()[rows] == split
        return np.flatnonzero(is_in), rows[is_in]

    def resamples(self, edit: str, split: str) -> Resamples:
        """Bootstrap weights, the same for all explainers and checkpoints, so that every comparison is paired."""
        if (edit, split) not in self._resamples:
            rng = np.random.default_rng([self.spec.metrics.seed, EVALUATED.index(split)])
            factors = self.observed.factors(self.inside(edit, split)[1])
            self._resamples[edit, split] = bootstrap_weights(rng, self.spec.metrics.bootstrap, **factors)
        return self._resamples[edit, split]

    # -- controls --------------------------------------------------------------------------------

    def controls(self, settings: list[Setting], progress: Progress) -> list[dict[str, Any]]:
        """Score the controls of every best direct setting; returns the explanations that are kept of them."""
        direct = [k for k in self._kept if k.setting.place.mode == "direct"]
        stored: list[dict[str, Any]] = []
        for done, kept in enumerate(direct):
            progress("controls", done, len(direct))
            self._null(kept, settings)
            self._control(kept, "stale", kept.stale)
            if (kept.setting.kind, kept.regime) == ("ridge", "frozen"):
                for name, explanations in self._of_ridge(kept, settings):
                    self._control(kept, name, explanations)
                    if name in ("output", "output_text"):
                        stored += self._stored(kept, name, explanations)
        progress("controls", len(direct), len(direct))
        return stored

    def _of_ridge(self, kept: Kept, settings: list[Setting]) -> list[tuple[str, list[np.ndarray]]]:
        """The controls that stand once per edit, beside the frozen ridge: [n] a checkpoint each."""
        observed, place, penalty = self.observed, kept.setting.place, kept.setting.penalty
        names, rows = observed.currents, kept.rows
        train = observed.rows(place.edit, "train")
        target = observed.behavior(observed.target)
        other = self.spec.control_model.name
        states = [(observed.features(other, place, train), observed.features(other, place, rows))]
        fixed = predict("ridge", "frozen", states, target.effect[train], penalty=penalty, spec=self.spec.explainers)[0]
        own = [(observed.features(n, place, train), observed.features(n, place, rows)) for n in names]
        out = [
            ("output", [output(observed.behavior(n).take(rows)) for n in names]),
            *self._text_controls(place.edit, train, rows),
            ("other_model", [fixed[:, 0]] * len(names)),
            ("ceiling", ceiling(own, [observed.behavior(n).effect[train] for n in names], penalty)),
        ]
        both = [s for s in settings if s.kind == "ridge" and s.best and s.place.edit == place.edit]
        for setting in [s for s in both if s.place.mode == "difference"]:
            x = [(observed.features(n, setting.place, train), observed.features(n, setting.place, rows)) for n in names]
            read = predict(
                "ridge", "frozen", x, target.effect[train], penalty=setting.penalty, spec=self.spec.explainers
            )
            out.append(("difference", [e[:, 0] for e in read]))
        return out

    def _text_controls(self, edit: str, train: np.ndarray, rows: np.ndarray) -> list[tuple[str, list[np.ndarray]]]:
        observed = self.observed
        examples = observed.examples
        metadata = examples[[c for c in examples.columns if c.startswith("meta_")]]
        prompts = examples["prompt"].to_numpy()
        folds = grouped_folds(**observed.factors(train), folds=TEXT_FOLDS, seed=self.spec.seed)
        target = observed.behavior(observed.target)
        given = (prompts[train], metadata.iloc[train], target.effect[train], folds)
        asked = (prompts[rows], metadata.iloc[rows])
        with_output = TextControl.fit(*given, f=target.f[train])
        explained = [with_output.predict(*asked, f=observed.behavior(n).f[rows]) for n in observed.currents]
        text = TextControl.fit(*given).predict(*asked)
        return [("output_text", explained), ("text_only", [text] * len(observed.currents))]

    def _control(self, kept: Kept, name: str, explanations: list[np.ndarray]) -> None:
        for t, checkpoint in enumerate(self.spec.checkpoints):
            for split in EVALUATED:
                at_start = explanations[0][:, None]
                own = self.score(kept.setting.place.edit, split, checkpoint.name, explanations[t], at_start=at_start)
                row = naming(self.observed, checkpoint, kept.setting, kept.regime, control=name)
                self._rows += [row | {"split": split} | s.values for s in own]

    def _stored(self, kept: Kept, name: str, explanations: list[np.ndarray]) -> list[dict[str, Any]]:
        return [
            {
                "setting": naming(self.observed, checkpoint, kept.setting, kept.regime, control=name),
                "rows": kept.rows,
                "explanations": values,
            }
            for checkpoint, values in zip(self.spec.checkpoints, explanations, strict=True)
        ]

    def _null(self, kept: Kept, settings: list[Setting]) -> None:
        """Group-wise shuffled targets through the same ridge. A ridge stands in for linear and mlp, whose own 200
        shuffles would cost hours; `online` takes the bands of `refit`."""
        place = kept.setting.place
        regime: Regime = "frozen" if kept.regime == "frozen" else "refit"
        if (place, regime) not in self._nulls:
            self._nulls[place, regime] = self._null_bands(place, regime, settings)
        bands = self._nulls[place, regime]
        for (split, t), own in kept.scores.items():
            at = bands[split, t]
            row = naming(self.observed, self.spec.checkpoints[t], kept.setting, kept.regime, control="null")
            shared = {name: own.values[name] for name in ("n", "n_groups", "metric", "target_current", "testable")}
            self._rows.append(row | {"split": split} | shared | at.values)
            band = {name: at.values[name] for name in ("null_mean", "null_low", "null_high")}
            self._rows[kept.row_numbers[split, t]] |= band

    def _null_bands(self, place: Place, regime: Regime, settings: list[Setting]) -> dict[tuple[str, int], Null]:
        observed = self.observed
        penalty = next((s.penalty for s in settings if (s.kind, s.place) == ("ridge", place)), None)
        if penalty is None:
            penalty = self.spec.explainers.penalties[len(self.spec.explainers.penalties) // 2]
        train, rows = observed.rows(place.edit, "train"), observed.rows(place.edit, *EVALUATED)
        targets = observed.behavior(observed.target).effect[train]
        groups = observed.examples["group"].to_numpy()[train]
        shuffled = shuffled_targets(targets, groups, self.spec.metrics.null_shuffles, self.spec.metrics.seed)
        states = (
            (
                observed.features(n, place, train) if regime == "refit" or n == observed.start else None,
                observed.features(n, place, rows),
            )
            for n in observed.currents
        )
        predicted = predict("ridge", regime, states, shuffled, penalty=penalty, spec=self.spec.explainers)
        out = {}
        for t, name in enumerate(observed.currents):
            for split in EVALUATED:
                inside, own = self.inside(place.edit, split)
                if len(own) < 3:
                    continue
                now: Behavior = observed.behavior(name).take(own)
                then = observed.behavior(observed.target).take(own)
                out[split, t] = null(predicted[t][inside], now, then, self.spec.metrics.confidence)
        return out

    # -- rows ------------------------------------------------------------------------------------

    def rows(self) -> list[dict[str, Any]]:
        """All rows, with verdicts and span rankings filled in."""
        self._fill_verdicts()
        self._fill_span_rankings()
        return self._rows

    def _fill_verdicts(self) -> None:
        """One family of tests a split and edit: all explainers and regimes over all checkpoints (max-|t|, Holm)."""
        direct = [k for k in self._kept if k.setting.place.mode == "direct"]
        for edit in dict.fromkeys(k.setting.place.edit for k in direct):
            for split in EVALUATED:
                family = [k for k in direct if k.setting.place.edit == edit and (split, 0) in k.scores]
                checkpoints = range(len(self.spec.checkpoints))
                trajectories = [[k.scores[split, t] for t in checkpoints] for k in family]
                if not family:
                    continue
                nulls = [
                    [
                        self._nulls[k.setting.place, "frozen" if k.regime == "frozen" else "refit"][split, t]
                        for t in checkpoints
                    ]
                    for k in family
                ]
                said = verdicts(
                    trajectories,
                    nulls,
                    confidence=self.spec.metrics.confidence,
                    absent_within=self.spec.metrics.absent_within,
                )
                for kept, of_trajectory in zip(family, said, strict=True):
                    for t, one in enumerate(of_trajectory):
                        row = self._rows[kept.row_numbers[split, t]]
                        row["verdict_coupling"] = one.coupling
                        row["verdict_counterfactual"] = one.counterfactual

    def _fill_span_rankings(self) -> None:
        """Within a prompt, over its edits: each edit by its own best explainer of one kind and regime."""
        observed = self.observed
        split_of = observed.examples["split"].to_numpy()
        direct = [k for k in self._kept if k.setting.place.mode == "direct"]
        for key in dict.fromkeys((k.setting.kind, k.regime, k.setting.condition) for k in direct):
            family = [k for k in direct if (k.setting.kind, k.regime, k.setting.condition) == key]
            rows = np.concatenate([k.rows for k in family])
            for t, name in enumerate(observed.currents):
                explained = np.concatenate([k.clean[t] for k in family])
                effect = observed.behavior(name).effect[rows]
                for split in EVALUATED:
                    inside = split_of[rows] == split
                    tau = span_ranking(explained[inside], effect[inside], observed.prompt_id[rows][inside])[0]
                    for kept in family:
                        if (split, t) in kept.row_numbers:
                            self._rows[kept.row_numbers[split, t]]["span_ranking"] = float(tau)
