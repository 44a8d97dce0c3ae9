"""The explainers whose maps activation patching compares with behavior: a run's frozen ridge, or the model's own words.

An explanation in words is read as a number too: log p(words that name answer a) − log p(words that name answer b) after
x and the question, in nats, up to the end of the answer's name. It is 0 if the model finds both equally likely. The
question and the words stand after the patched positions and are not patched.

An explainer has scores (`hooks.ScoreOf` by name) for prompts with these tokens and answers. `said` turns their values
[..., width of the score] into explanations [..., 1 + k]; the k further explainers were trained on shuffled labels.
`layer_at` is the layer up to which the explanation reads the patched states.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.config import CheckpointSpec, HiddenSpec, InputError, PatchingSpec
from engine.probes.ridge import Ridge
from engine.progress import Progress
from engine.runs.observed import Observed, Place
from engine.runs.store import Run
from engine.runs.weights import folder_of
from engine.spec_files import resolve_paths, with_trained_paths
from engine.stats.noise import shuffled_targets
from engine.tasks import WORDINGS, Wording


@dataclass(frozen=True)
class LinearExplainer:
    """The run's frozen ridge of one kind of edit, and ridges of the same setting on shuffled labels."""

    edit: str
    layer: int
    penalty: float
    weights: np.ndarray
    """[width]"""
    null: np.ndarray
    """Weights of the ridges on shuffled labels, [width, shuffles]."""
    name = "ridge"

    def layer_at(self, checkpoint: Any) -> int:
        return self.layer

    def scores(self, checkpoint: Any, tokens: Sequence[Any], answers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        from engine.patching import hooks

        # All ridges are linear in the state, so the effects on the state are enough.
        return {"state": hooks.probe_score(self.layer, lambda states: states)}

    def said(self, scored: Mapping[str, np.ndarray]) -> np.ndarray:
        """Explanations without the intercept, which no patch changes."""
        return scored["state"] @ np.column_stack([self.weights, self.null])


@dataclass(frozen=True)
class OwnWords:
    """The model itself, asked after x for its answer without the cue."""

    edit: str
    wording: Wording
    name = "verbal"
    penalty = None

    def layer_at(self, checkpoint: Any) -> int:
        """The last layer: later words read the prompt's states in every block, but not after the last block."""
        return int(checkpoint.n_layers)

    def scores(self, checkpoint: Any, tokens: Sequence[Any], answers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        from engine.patching import hooks

        question = self.wording.question(self.edit)
        known = {
            pair: hooks.words_score(checkpoint, question, *self.wording.beginnings(*words))
            for pair, words in {(t.answers, a) for t, a in zip(tokens, answers, strict=True)}
        }
        return {"words": lambda prompt: known[prompt.answers](prompt)}

    def said(self, scored: Mapping[str, np.ndarray]) -> np.ndarray:
        return scored["words"]


PatchedExplainer = LinearExplainer | OwnWords


def edits_of(run: Run, spec: PatchingSpec) -> tuple[str, ...]:
    """The kinds of edit to patch; default: that of the chosen explainer. Raises InputError if one has no explainer."""
    metrics = _explained(run)
    known, chosen = sorted(set(metrics["edit"])), metrics.loc[metrics["chosen"], "edit"].unique()[:1]
    edits = spec.edits or tuple(chosen)
    if unknown := [edit for edit in edits if edit not in known]:
        what = "explanations in words of" if _in_words(run) else "frozen ridge for"
        have = ", ".join(known) or "none"
        raise InputError(f"{run.path}: has no {what} the edit {unknown[0]!r} (it has: {have})")
    if not edits:
        raise InputError(f"{run.path}: has no chosen explainer to patch: name a kind of edit")
    return edits


def explainers_of(run: Run, observed: Observed, spec: PatchingSpec, progress: Progress) -> list[PatchedExplainer]:
    """One explainer for each of the spec's edits."""
    if _in_words(run):
        return [OwnWords(edit, WORDINGS[run.spec.task.name]) for edit in spec.edits]
    return [explainer_of(run, observed, edit, spec, progress) for edit in spec.edits]


def _in_words(run: Run) -> bool:
    return run.spec.verbal is not None and not run.spec.verbal.probes


def _explained(run: Run) -> pd.DataFrame:
    """Rows of the metrics at the first checkpoint: explanations in words, or frozen ridges on h(x) at the last
    position."""
    rows = run.read_table("metrics.parquet").to_pandas()
    rows = rows[rows["control"].isna() & (rows["checkpoint"] == run.spec.checkpoints[0].name)]
    if _in_words(run):
        return rows[rows["explainer"] == "verbal"]
    is_it = (rows["explainer"] == "ridge") & (rows["regime"] == "frozen") & (rows["mode"] == "direct")
    return rows[is_it & (rows["position"] == "last") & (rows["noise_kind"] == "none")]


def explainer_of(run: Run, observed: Observed, edit: str, spec: PatchingSpec, progress: Progress) -> LinearExplainer:
    """The ridge that cross-validation chose for this edit, fitted again at the first checkpoint."""
    rows = _explained(run)
    best = rows[rows["edit"] == edit].sort_values("cv", ascending=False, kind="stable").iloc[0]
    layer, penalty = int(best["layer"]), float(best["penalty"])
    train = observed.rows(edit, "train")
    if layer in run.kept_layers(observed.start):
        x = observed.features(observed.start, Place(edit, "direct", "last", layer), train)
    else:
        x = _read_hidden(run, observed, layer, train, spec, progress)
    target = observed.behavior(observed.target).effect[train]
    groups = observed.examples["group"].to_numpy()[train]
    labels = np.column_stack([target, shuffled_targets(target, groups, spec.shuffles, spec.seed)])
    weights, _ = Ridge.fit(x).coefficients(labels, penalty)
    return LinearExplainer(edit, layer, penalty, weights[:, 0], weights[:, 1:])


def _read_hidden(
    run: Run, observed: Observed, layer: int, rows: np.ndarray, spec: PatchingSpec, progress: Progress
) -> np.ndarray:
    """h(x) [rows, width], measured again for a run that kept no hidden states."""
    from engine.model.behavior import measure

    table = run.read_table("examples.parquet").take(pa.array(rows))
    prompts = table["prompt"].to_pylist()
    hidden = HiddenSpec(layers=(layer,), dtype=run.spec.hidden.dtype)
    checkpoint = load_checkpoint(run, observed.start, spec)
    told = partial(progress, "reading hidden states")
    measured = measure(checkpoint, table, hidden=hidden, batch_size=spec.batch_size, progress=told)
    number = {prompt: i for i, prompt in enumerate(dict.fromkeys(prompts))}
    return measured.prompts[f"last.{layer}"][[number[prompt] for prompt in prompts]].astype(np.float64)


def checkpoint_spec(run: Run, name: str) -> CheckpointSpec:
    """A run's checkpoint with an absolute path."""
    every = with_trained_paths(resolve_paths(run.spec, run.path.resolve()), run.path.resolve()).all_checkpoints
    return next(c for c in every if c.name == name)


def weights_are_there(run: Run, name: str) -> None:
    """Raise InputError if the run did not keep the weights that it trained."""
    wanted = checkpoint_spec(run, name)
    if wanted.trained and not folder_of(run.path, name).is_dir():
        how = "make the run with verbal.keep_checkpoints: true, or with a section patching: in its spec"
        raise InputError(f"{run.path}: the weights of {name} were not kept: {how}")


def load_checkpoint(run: Run, name: str, spec: PatchingSpec) -> Any:
    """Load a run's checkpoint. Raises InputError if that fails, or if its prompts are read in a chat template."""
    from engine.model.of_run import load_of_run

    checkpoint = load_of_run(run, checkpoint_spec(run, name), spec.device)
    if _in_words(run) and checkpoint.chat:
        why = (
            f"{name} reads prompts in a chat template, where words follow other tokens than x, so they can't be patched"
        )
        raise InputError(
            f"patching: {why}: make the run with chat: off, or with verbal.probes: true to patch its ridge"
        )
    return checkpoint
