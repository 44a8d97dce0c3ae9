"""The explainers that maps of activation patching are made of: a run's frozen ridge, or the model's own words.

What the words say of an edit is a number too: log p(they go on with answer a) − log p(with answer b) after x and the
question, in nats, up to the end of the answer's name; it is 0 where the model would as soon say the one as the other.
The question and the words stand after the patched positions, and are not patched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.config import CheckpointSpec, HiddenSpec, InputError, PatchingSpec
from engine.probes.ridge import Ridge
from engine.progress import Progress
from engine.runs.observed import Observed, Place
from engine.runs.store import Run
from engine.spec_files import resolve_paths, with_trained_paths
from engine.stats.noise import shuffled_targets
from engine.tasks import WORDINGS, Wording


class Explainer(Protocol):
    """Of one kind of edit. What it says [..., 1 + k] is read from the scores of a run; k further explainers that were
    trained on shuffled labels stand beside it, where there are any."""

    @property
    def name(self) -> str: ...
    @property
    def edit(self) -> str: ...
    @property
    def penalty(self) -> float | None: ...
    def layer_at(self, checkpoint: Any) -> int:
        """The layers below it are those through which the explanation is read."""
        ...

    def scores(self, checkpoint: Any, tokens: Sequence[Any], answers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """`patching.Score` by name, for prompts with these tokens and answers."""
        ...

    def said(self, scored: Mapping[str, np.ndarray]) -> np.ndarray:
        """From the scores' values [..., width of the score] to [..., 1 + k]."""
        ...


@dataclass(frozen=True)
class LinearExplainer:
    """The run's frozen ridge of one kind of edit, and ridges of the same setting on shuffled labels."""

    edit: str
    layer: int
    penalty: float
    weights: np.ndarray
    """[width]"""
    intercept: float
    null: np.ndarray
    """[width, shuffles]"""
    name = "ridge"

    def layer_at(self, checkpoint: Any) -> int:
        return self.layer

    def scores(self, checkpoint: Any, tokens: Sequence[Any], answers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        from engine.patching import hooks

        # All of them are linear: what patching does to the state that they read is enough.
        return {"state": hooks.probe(self.layer, lambda states: states)}

    def said(self, scored: Mapping[str, np.ndarray]) -> np.ndarray:
        """Without the intercept, which no patch moves."""
        return scored["state"] @ np.column_stack([self.weights, self.null])


@dataclass(frozen=True)
class OwnWords:
    """The model itself, asked after x what it would answer without the cue."""

    edit: str
    wording: Wording
    name = "verbal"
    penalty = None

    def layer_at(self, checkpoint: Any) -> int:
        """Words that follow read the prompt's states in every block; those after the last one nothing reads."""
        return int(checkpoint.n_layers)

    def scores(self, checkpoint: Any, tokens: Sequence[Any], answers: Sequence[tuple[str, str]]) -> dict[str, Any]:
        from engine.patching import hooks

        question = self.wording.question(self.edit)
        known = {}
        for pair, words in {(t.answers, a) for t, a in zip(tokens, answers, strict=True)}:
            try:
                known[pair] = hooks.log_odds_of_texts(checkpoint, question, *self.wording.beginnings(*words))
            except ValueError as error:
                raise InputError(f"patching: {error}") from None
        return {"words": lambda prompt: known[prompt.answers](prompt)}

    def said(self, scored: Mapping[str, np.ndarray]) -> np.ndarray:
        return scored["words"]


def edits_of(run: Run, spec: PatchingSpec) -> tuple[str, ...]:
    """The kinds of edit to make maps of; none named: that of the chosen explainer. Raises InputError for one that
    nothing explains."""
    metrics = _explained(run)
    edits = spec.edits or tuple(metrics.loc[metrics["chosen"], "edit"].unique()[:1])
    what = "explanations in words of" if _in_words(run) else "frozen ridge for"
    for edit in edits:
        if edit not in set(metrics["edit"]):
            have = ", ".join(sorted(set(metrics["edit"]))) or "none"
            raise InputError(f"{run.path}: has no {what} the edit {edit!r} (it has: {have})")
    if not edits:
        raise InputError(f"{run.path}: has no chosen explainer that maps can be made of: name a kind of edit")
    return edits


def explainers_of(run: Run, observed: Observed, spec: PatchingSpec, progress: Progress) -> list[Explainer]:
    """One for each of the spec's edits."""
    if _in_words(run):
        return [OwnWords(edit, WORDINGS[run.spec.task.name]) for edit in spec.edits]
    return [explainer_of(run, observed, edit, spec, progress) for edit in spec.edits]


def _in_words(run: Run) -> bool:
    return run.spec.verbal is not None and not run.spec.verbal.probes


def _explained(run: Run) -> pd.DataFrame:
    """Rows of the metrics, at the first checkpoint: explanations in words; else frozen ridges that read h(x) at the
    last position."""
    rows = run.read_table("metrics.parquet").to_pandas()
    rows = rows[rows["control"].isna() & (rows["checkpoint"] == run.spec.checkpoints[0].name)]
    if _in_words(run):
        return rows[rows["explainer"] == "verbal"]
    is_it = (rows["explainer"] == "ridge") & (rows["regime"] == "frozen") & (rows["mode"] == "direct")
    return rows[is_it & (rows["position"] == "last") & (rows["noise_kind"] == "none")]


def explainer_of(run: Run, observed: Observed, edit: str, spec: PatchingSpec, progress: Progress) -> LinearExplainer:
    """The setting that cross-validation picked for this edit, fitted again at the first checkpoint."""
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
    weights, intercepts = Ridge.fit(x).coefficients(labels, penalty)
    return LinearExplainer(edit, layer, penalty, weights[:, 0], float(intercepts[0]), weights[:, 1:])


def _read_hidden(
    run: Run, observed: Observed, layer: int, rows: np.ndarray, spec: PatchingSpec, progress: Progress
) -> np.ndarray:
    """h(x) [rows, width] of a run that keeps none."""
    from engine.model.behavior import measure

    table = run.read_table("examples.parquet").take(pa.array(rows))
    hidden = HiddenSpec(layers=(layer,), dtype=run.spec.hidden.dtype)
    checkpoint = load_checkpoint(run, observed.start, spec)
    told = lambda done, total: progress("reading hidden states", done, total)  # noqa: E731
    measured = measure(checkpoint, table, hidden=hidden, batch_size=spec.batch_size, progress=told)
    of_prompt = {prompt: i for i, prompt in enumerate(dict.fromkeys(table["prompt"].to_pylist()))}
    chosen = [of_prompt[prompt] for prompt in table["prompt"].to_pylist()]
    return measured.prompts[f"last.{layer}"][chosen].astype(np.float64)


def checkpoint_spec(run: Run, name: str) -> CheckpointSpec:
    """A run's checkpoint with a path that can be opened."""
    every = with_trained_paths(resolve_paths(run.spec, run.path.resolve()), run.path.resolve()).all_checkpoints
    return next(c for c in every if c.name == name)


def weights_are_there(run: Run, name: str) -> None:
    """Raises InputError where a run did not keep the weights that it trained."""
    wanted = checkpoint_spec(run, name)
    if wanted.trained and not Path(wanted.path).is_dir():
        raise InputError(
            f"{run.path}: the weights of {name} were not kept: make the run with verbal.keep_checkpoints: true, or "
            "with a section patching: in its spec"
        )


def load_checkpoint(run: Run, name: str, spec: PatchingSpec) -> Any:
    """Raises InputError where it can't be had, or reads its prompts in a chat template."""
    from engine.model.checkpoints import load

    checkpoint = load(checkpoint_spec(run, name), device=spec.device)
    templated = run.spec.verbal and run.spec.verbal.chat_template and checkpoint.tokenizer.chat_template
    if _in_words(run) and templated:
        raise InputError("patching: words in a chat template follow another row of tokens than x: no maps of them")
    return checkpoint
