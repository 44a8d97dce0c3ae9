"""Maps of activation patching for a finished run: where its behavior and its explanations are restored.

Of each kind of edit some examples are patched at some checkpoints, region by region and layer by layer; the explainer
is the run's frozen ridge, fitted again from the hidden states that the run keeps (or that are read again). The parts
are added to the run, which stays complete; a stopped call goes on where it was, another choice replaces them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from engine import patch_maps
from engine.config import CheckpointSpec, HiddenSpec, InputError, PatchingSpec, resolve_paths, with_trained_paths
from engine.correlation import bootstrap_weights
from engine.noise import shuffled_targets
from engine.observed import Observed
from engine.patch_maps import Maps
from engine.probes.ridge import Ridge
from engine.progress import Progress, silent
from engine.records import PATCHING, PATCHING_AGREEMENT
from engine.settings import Place
from engine.store import Run

NOTE = "patching"
DIGITS = 4
"""Effects are kept to a tenth of a millinat."""


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


def parts_of(checkpoint: str) -> tuple[str, str]:
    """The parts that hold a checkpoint's maps and their agreement."""
    return f"patching/{checkpoint}.maps.parquet", f"patching/{checkpoint}.agreement.parquet"


def patch_run(path: Path | str, spec: PatchingSpec = PatchingSpec(), progress: Progress = silent) -> Run:  # noqa: B008
    """Make the maps of a complete run and add them to it. Returns the run.

    Raises InputError: no such checkpoint or edit, no ridge to explain with, a checkpoint that can't be loaded.
    """
    with Run.extend(path) as run:
        work = _resolved(run, spec)
        options = work.model_dump(mode="json", exclude={"device", "batch_size"})
        wanted = [part for name in work.checkpoints for part in parts_of(name)]
        if run.manifest["notes"].get(NOTE) != options:
            for part in [p for p in run.parts if p.startswith("patching/")]:
                run.drop(part)
            run.record(**{NOTE: options})
        if not all(run.has(part) for part in wanted):
            _write(run, work, progress)
        run.finish()
    return run


def agreements(run: Run) -> pd.DataFrame:
    """Rows of records.PATCHING_AGREEMENT of all checkpoints that have maps."""
    names = [parts_of(c.name)[1] for c in run.spec.checkpoints]
    tables = [run.read_table(name).to_pandas() for name in names if run.has(name)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _write(run: Run, spec: PatchingSpec, progress: Progress) -> None:
    """The parts that are not there yet."""
    observed = Observed(run, run.spec)
    explainers = [explainer_of(run, observed, edit, spec, progress) for edit in spec.edits]
    for name in spec.checkpoints:
        if not all(run.has(part) for part in parts_of(name)):
            maps, agreements = _checkpoint(run, observed, name, explainers, spec, progress)
            for part, table in zip(parts_of(name), (maps, agreements), strict=True):
                run.write_table(part, table)


def _resolved(run: Run, spec: PatchingSpec) -> PatchingSpec:
    """The spec with its defaults filled in; raises InputError for what the run does not have."""
    known = [c.name for c in run.spec.checkpoints]
    for name in spec.checkpoints:
        if name not in known:
            raise InputError(f"{run.path}: has no current checkpoint {name!r}: give one of {', '.join(known)}")
    metrics = _ridges(run)
    edits = spec.edits or tuple(metrics.loc[metrics["chosen"], "edit"].unique()[:1])
    for edit in edits:
        if edit not in set(metrics["edit"]):
            have = ", ".join(sorted(set(metrics["edit"]))) or "none"
            raise InputError(f"{run.path}: has no frozen ridge for the edit {edit!r} (it has: {have})")
    if not edits:
        raise InputError(f"{run.path}: has no chosen ridge: name a kind of edit")
    checkpoints = spec.checkpoints or tuple(dict.fromkeys((known[0], known[-1])))
    return spec.model_copy(update={"edits": tuple(edits), "checkpoints": checkpoints})


def _ridges(run: Run) -> pd.DataFrame:
    """Rows of the metrics: frozen ridges that read h(x) at the last position, at the first checkpoint."""
    rows = run.read_table("metrics.parquet").to_pandas()
    is_it = (rows["explainer"] == "ridge") & (rows["regime"] == "frozen") & (rows["mode"] == "direct")
    is_it &= rows["control"].isna() & (rows["position"] == "last") & (rows["noise_kind"] == "none")
    return rows[is_it & (rows["checkpoint"] == run.spec.checkpoints[0].name)]


def explainer_of(run: Run, observed: Observed, edit: str, spec: PatchingSpec, progress: Progress) -> LinearExplainer:
    """The setting that cross-validation picked for this edit, fitted again at the first checkpoint."""
    rows = _ridges(run)
    best = rows[rows["edit"] == edit].sort_values("cv", ascending=False, kind="stable").iloc[0]
    layer, penalty = int(best["layer"]), float(best["penalty"])
    train = observed.rows(edit, "train")
    if layer in observed.layers(observed.start):
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
    from engine.behavior import measure

    table = run.read_table("examples.parquet").take(pa.array(rows))
    hidden = HiddenSpec(layers=(layer,), dtype=run.spec.hidden.dtype)
    checkpoint = _load(run, observed.start, spec)
    told = lambda done, total: progress("reading hidden states", done, total)  # noqa: E731
    measured = measure(checkpoint, table, hidden=hidden, batch_size=spec.batch_size, progress=told)
    of_prompt = {prompt: i for i, prompt in enumerate(dict.fromkeys(table["prompt"].to_pylist()))}
    chosen = [of_prompt[prompt] for prompt in table["prompt"].to_pylist()]
    return measured.prompts[f"last.{layer}"][chosen].astype(np.float64)


def checkpoint_spec(run: Run, name: str) -> CheckpointSpec:
    """A run's checkpoint with a path that can be opened."""
    every = with_trained_paths(resolve_paths(run.spec, run.path.resolve()), run.path.resolve()).all_checkpoints
    return next(c for c in every if c.name == name)


def _load(run: Run, name: str, spec: PatchingSpec) -> Any:
    from engine.checkpoints import load

    return load(checkpoint_spec(run, name), device=spec.device)


def _checkpoint(
    run: Run,
    observed: Observed,
    name: str,
    explainers: Sequence[LinearExplainer],
    spec: PatchingSpec,
    progress: Progress,
) -> tuple[pa.Table, pa.Table]:
    """Maps and agreement at one checkpoint, over all kinds of edit."""
    checkpoint = _load(run, name, spec)
    step = next(c.step for c in run.spec.checkpoints if c.name == name)
    tables, agreements = [], []
    for explainer in explainers:
        rows = _drawn(observed, explainer.edit, spec)
        told = lambda done, total, e=explainer.edit: progress(f"patching {name}, {e}", done, total)  # noqa: E731
        found = patch_examples(checkpoint, observed.examples.iloc[rows], explainer, spec.batch_size, told)
        tables.append(found.table)
        named = {"checkpoint": name, "step": step, "edit": explainer.edit, "explainer": "ridge", "split": spec.split}
        named |= {"probe_layer": explainer.layer, "penalty": explainer.penalty, "n": len(rows)}
        agreements += [row | named for row in agreement_rows(found, observed.factors(rows), spec)]
    columns = [[row[name] for row in agreements] for name in PATCHING_AGREEMENT.names]
    arrays = [pa.array(c, f.type, from_pandas=True) for c, f in zip(columns, PATCHING_AGREEMENT, strict=True)]
    return pa.concat_tables(tables).unify_dictionaries(), pa.Table.from_arrays(arrays, schema=PATCHING_AGREEMENT)


def _drawn(observed: Observed, edit: str, spec: PatchingSpec) -> np.ndarray:
    """Rows of the examples to patch: seeded, the same at every checkpoint, in the run's order."""
    rows = observed.rows(edit, spec.split)
    if len(rows) < 2:
        raise InputError(f"patching: {len(rows)} examples of {edit} in {spec.split}: choose another split or edit")
    rng = np.random.default_rng([spec.seed, 11])
    return np.sort(rng.permutation(rows)[: spec.examples])


@dataclass(frozen=True)
class Found:
    """What patching some examples of one edit gave."""

    table: pa.Table
    """records.PATCHING"""
    maps: Maps
    null: Maps
    """The same, of the explainers on shuffled labels."""
    f: np.ndarray
    """f(x) [n]"""
    explanation: np.ndarray
    """At x [n]"""


def patch_examples(
    checkpoint: Any, examples: pd.DataFrame, explainer: LinearExplainer, batch_size: int, progress: Any = None
) -> Found:
    """Patch some examples (rows of records.EXAMPLES) region by region at every layer."""
    from engine import patching
    from engine.behavior import tokenised

    texts, answers = examples[["prompt", "edited"]], list(zip(examples["answer_a"], examples["answer_b"], strict=True))
    names = examples["example_id"].tolist()
    x, edited = (tokenised(checkpoint, texts[c].tolist(), answers, names, offsets=False) for c in texts)
    groups = [
        patch_maps.regions(patching.align(one.prompt, other.prompt).edit, len(one.prompt))
        for one, other in zip(x, edited, strict=True)
    ]
    pairs = [patching.Pair(*pair) for pair in zip(x, edited, groups, strict=True)]
    layers = range(checkpoint.n_layers + 1)
    # The explainers are linear: what patching does to the state that they read is enough for all of them.
    scores = {"f": patching.behavior, "state": patching.probe(explainer.layer, lambda states: states)}
    results = patching.patch(checkpoint, pairs, scores, layers, batch_size=batch_size, progress=progress)

    weights = np.column_stack([explainer.weights, explainer.null])
    behavior = np.stack([r.effects["f"][..., 0] for r in results])
    said = np.stack([r.effects["state"] @ weights for r in results])
    differs = np.stack([r.differs for r in results])
    effect = np.array([r.edited["f"][0] - r.clean["f"][0] for r in results])
    moved = np.stack([(r.edited["state"] - r.clean["state"]) @ weights for r in results])
    tokens = np.array([[len(positions) for positions in group.values()] for group in groups])
    table = _table(names, explainer.edit, behavior, said[..., 0], differs, effect, moved[:, 0], tokens)
    columns = [patch_maps.REGIONS.index(region) for region in patch_maps.COMPARED]
    compared = differs[:, :, columns] & (np.arange(len(layers)) < explainer.layer)[None, :, None]
    at_x = np.array([r.clean["state"] @ explainer.weights for r in results]) + explainer.intercept
    return Found(
        table,
        Maps(behavior[:, :, columns], said[:, :, columns, 0], compared, effect, moved[:, 0]),
        Maps(behavior[:, :, columns], said[:, :, columns, 1:], compared, effect, moved[:, 1:]),
        np.array([r.clean["f"][0] for r in results]),
        at_x,
    )


def _table(
    names: Sequence[str],
    edit: str,
    behavior: np.ndarray,
    said: np.ndarray,
    differs: np.ndarray,
    effect: np.ndarray,
    moved: np.ndarray,
    tokens: np.ndarray,
) -> pa.Table:
    """Rows of records.PATCHING, examples × layers × regions in this order."""
    n, layers, regions = behavior.shape
    index = [a.ravel().astype(np.int32) for a in np.meshgrid(*map(np.arange, behavior.shape), indexing="ij")]

    def kept(values: np.ndarray) -> np.ndarray:
        return np.round(values.ravel(), DIGITS).astype(np.float32) + np.float32(0)

    columns = {
        "example_id": pa.DictionaryArray.from_arrays(index[0], list(names)),
        "edit": pa.DictionaryArray.from_arrays(np.zeros(n * layers * regions, np.int32), [edit]),
        "layer": index[1],
        "region": pa.DictionaryArray.from_arrays(index[2], list(patch_maps.REGIONS)),
        "tokens": np.broadcast_to(tokens[:, None], behavior.shape).ravel().astype(np.int32),
        "differs": differs.ravel(),
        "behavior": kept(behavior),
        "explanation": kept(said),
        "effect": kept(np.broadcast_to(effect[:, None, None], behavior.shape)),
        "moved": kept(np.broadcast_to(moved[:, None, None], behavior.shape)),
    }
    return pa.Table.from_pydict(columns, schema=PATCHING)


def agreement_rows(found: Found, factors: dict[str, np.ndarray], spec: PatchingSpec) -> list[dict[str, Any]]:
    """Agreement of both maps with its interval, and of its controls, as columns of records.PATCHING_AGREEMENT."""
    rng = np.random.default_rng([spec.seed, 12])
    resamples = bootstrap_weights(rng, spec.bootstrap, **factors)
    rows: list[dict[str, Any]] = []
    beyond = patch_maps.beyond_output(found.maps, found.explanation, found.f)
    for control, maps in ((None, found.maps), ("beyond the output", beyond)):
        r, low, high = patch_maps.mean_interval(patch_maps.agreement(maps), resamples)
        rows.append({"control": control, "r": r, "low": low, "high": high, "draws": None})
    null = patch_maps.agreement(found.null)
    defined = ~np.isnan(null)
    counts = defined.sum(axis=0)
    means = np.where(counts > 0, np.where(defined, null, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)
    for control, draws in (
        ("another example", patch_maps.with_another_example(found.maps, spec.shuffles, rng)),
        ("positions permuted", patch_maps.with_positions_permuted(found.maps, spec.shuffles, rng)),
        ("shuffled labels", means),
    ):
        rows.append(dict(patch_maps.null_row(control, draws)))
    return [row | {"n_groups": resamples.n_groups} for row in rows]
