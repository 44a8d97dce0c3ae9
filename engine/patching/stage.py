"""Maps of activation patching for a finished run: where its behavior and its explanations are restored.

For each kind of edit, some examples are patched at some checkpoints, region by region and layer by layer. The explainer
is the run's frozen ridge, or the model's own words (`explainers`). The parts are added to a complete run, or made with
it (`patching:` in its spec). A stopped call goes on where results were saved last, about every half a minute; other
options replace the existing parts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from engine.config import InputError, PatchingSpec, RunSpec
from engine.patching import maps as patch_maps
from engine.patching.explainers import PatchedExplainer, edits_of, explainers_of, load_checkpoint, weights_are_there
from engine.patching.maps import Maps
from engine.progress import Progress, TokenMeter, silent
from engine.records import PATCHING, PATCHING_AGREEMENT
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.stats.bootstrap import bootstrap_weights

DIGITS = 4
"""Decimals of the stored effects, in nats."""


def parts_of(checkpoint: str) -> tuple[str, str]:
    """The parts that hold a checkpoint's maps and their agreement."""
    return f"patching/{checkpoint}.maps.parquet", f"patching/{checkpoint}.agreement.parquet"


def stage_of(checkpoint: str) -> str:
    """The name under which the maps of a checkpoint report progress."""
    return f"patching {checkpoint}"


def patched(run: RunSpec, spec: PatchingSpec) -> tuple[str, ...]:
    """Names of the checkpoints that get maps."""
    names = [c.name for c in run.checkpoints]
    return spec.checkpoints or tuple(dict.fromkeys((names[0], names[-1])))


def patch_run(
    path: Path | str,
    spec: PatchingSpec = PatchingSpec(),  # noqa: B008
    progress: Progress = silent,
    trusted: Collection[str] = (),
) -> Run:
    """Make the maps of a complete run and add them to it. Returns the run.

    trusted: names of checkpoints for which the permissions in the run's spec hold; the run may come from anybody.
    Raises InputError for an unknown checkpoint or edit, an edit without a ridge, or a checkpoint that can't be loaded.
    """
    with Run.extend(path) as run:
        run.spec = run.spec.without_permissions(keep=trusted)
        make(run, spec, progress)
        run.finish()
    return run


def agreements(run: Run) -> pd.DataFrame:
    """Rows of records.PATCHING_AGREEMENT of all checkpoints that have maps."""
    names = [parts_of(c.name)[1] for c in run.spec.checkpoints]
    tables = [run.read_table(name).to_pandas() for name in names if run.has(name)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def make(run: Run, spec: PatchingSpec, progress: Progress = silent) -> None:
    """Write the missing parts of a run that has its metrics. Parts made with other options are dropped first, but only
    if the new ones can be made."""
    known = [c.name for c in run.measured.checkpoints]
    for name in spec.checkpoints:
        if name not in known:
            raise InputError(f"{run.path}: has no current checkpoint {name!r}: give one of {', '.join(known)}")
    spec = spec.model_copy(update={"edits": edits_of(run, spec), "checkpoints": patched(run.measured, spec)})
    options = spec.model_dump(mode="json", exclude={"device", "batch_size"})
    same = run.manifest["notes"].get("patching") == options
    left = [name for name in spec.checkpoints if not same or not all(run.has(part) for part in parts_of(name))]
    for name in left:
        weights_are_there(run, name)
    if not same:
        for part in [p for p in run.parts if p.startswith("patching/")]:
            run.drop(part)
        run.note(patching=options)
    if not left:
        return
    observed = Observed(run, run.measured)
    explainers = explainers_of(run, observed, spec, progress)
    for name in left:
        tables = _checkpoint(run, observed, name, explainers, spec, progress)
        for part, table in zip(parts_of(name), tables, strict=True):
            run.write_table(part, table)
        run.adopt({}, without=_saved(run, name))
        with suppress(OSError):
            (run.path / _folder(name)).rmdir()


def _checkpoint(
    run: Run,
    observed: Observed,
    name: str,
    explainers: Sequence[PatchedExplainer],
    spec: PatchingSpec,
    progress: Progress,
) -> tuple[pa.Table, pa.Table]:
    """Maps and agreement at one checkpoint, over all kinds of edit."""
    checkpoint = load_checkpoint(run, name, spec)
    step = next(c.step for c in run.spec.checkpoints if c.name == name)
    drawn = [_drawn(observed, explainer.edit, spec) for explainer in explainers]
    results = _Results(run, name, sum(map(len, drawn)), progress)
    tables, rows = [], []
    for explainer, chosen in zip(explainers, drawn, strict=True):
        examples = observed.examples.iloc[chosen]
        table, own, beyond, null = patch_examples(checkpoint, examples, explainer, spec.batch_size, results)
        tables.append(table)
        named = {"checkpoint": name, "step": step, "split": spec.split, "n": len(chosen)}
        named |= {"edit": explainer.edit, "explainer": explainer.name, "penalty": explainer.penalty}
        named["probe_layer"] = explainer.layer_at(checkpoint)
        rows += [named | row for row in agreement_rows(own, beyond, null, observed.factors(chosen), spec)]
    columns = [pa.array([row[f.name] for row in rows], f.type, from_pandas=True) for f in PATCHING_AGREEMENT]
    return pa.concat_tables(tables).unify_dictionaries(), pa.Table.from_arrays(columns, schema=PATCHING_AGREEMENT)


def _drawn(observed: Observed, edit: str, spec: PatchingSpec) -> np.ndarray:
    """Row numbers of the examples to patch: drawn with the seed, the same at every checkpoint, in the run's order."""
    rows = observed.rows(edit, spec.split)
    if len(rows) < 2:
        raise InputError(f"patching: {len(rows)} examples of {edit} in {spec.split}: choose another split or edit")
    rng = np.random.default_rng([spec.seed, 11])
    return np.sort(rng.permutation(rows)[: spec.examples])


class _Results:
    """Results of a checkpoint's examples, in their order: saved about every half a minute, and reported in tokens."""

    def __init__(self, run: Run, name: str, examples: int, progress: Progress):
        from engine.training.state import Clock

        self._run, self._name, self._clock = run, name, Clock()
        self._new: list[tuple[Any, int]] = []
        """What is not saved yet, each with the tokens that were read for it."""
        saved = [run.read_arrays(part) for part in _saved(run, name)]
        self._known = [result for arrays in saved for result in _unpacked(arrays)]
        tokens = sum(int(arrays["tokens"].sum()) for arrays in saved)
        self._meter = TokenMeter(progress, stage_of(name), examples, tokens=tokens, done=len(self._known))

    def known(self, most: int) -> list[Any]:
        """Results of the next `most` examples, or of the first ones of them, from an earlier call."""
        found, self._known = self._known[:most], self._known[most:]
        return found

    def told(self, results: Sequence[Any], tokens: int) -> None:
        """`hooks.Patched` of the next examples are there."""
        self._new += zip(results, [tokens] + [0] * (len(results) - 1), strict=True)
        if self._clock.due():
            part = f"{_folder(self._name)}{len(_saved(self._run, self._name)):05d}.safetensors"
            self._clock.save(lambda: self._run.write_arrays(part, _packed(self._new)))
            self._new.clear()
        self._meter.add(len(results), tokens)


def _folder(checkpoint: str) -> str:
    return f"patching/{checkpoint}/"


def _saved(run: Run, checkpoint: str) -> list[str]:
    """The parts with results of a checkpoint whose maps are not finished, in their order."""
    return sorted(part for part in run.parts if part.startswith(_folder(checkpoint)))


def _packed(results: Sequence[tuple[Any, int]]) -> dict[str, np.ndarray]:
    """Results (`hooks.Patched`) with their tokens as arrays [results, …]."""
    found = {"differs": np.stack([r.differs for r, _ in results]), "tokens": np.array([n for _, n in results])}
    for kind in ("clean", "edited", "effects"):
        names = getattr(results[0][0], kind)
        found |= {f"{kind}:{name}": np.stack([getattr(r, kind)[name] for r, _ in results]) for name in names}
    return found


def _unpacked(arrays: Mapping[str, np.ndarray]) -> list[Any]:
    from engine.patching.hooks import Patched

    parted = {key: key.partition(":")[::2] for key in arrays if ":" in key}
    every = []
    for i, differs in enumerate(arrays["differs"]):
        kinds: dict[str, dict[str, np.ndarray]] = {"clean": {}, "edited": {}, "effects": {}}
        for key, (kind, name) in parted.items():
            kinds[kind][name] = arrays[key][i]
        every.append(Patched(**kinds, differs=differs))
    return every


def patch_examples(
    checkpoint: Any, examples: pd.DataFrame, explainer: PatchedExplainer, batch_size: int, done: _Results
) -> tuple[pa.Table, Maps, Maps, Maps]:
    """Patch some examples (rows of records.EXAMPLES) region by region at every layer.

    Returns rows of records.PATCHING, and three maps of the compared regions: of the explainer, of the explainer beyond
    a linear reading of f(x), and of the explainers on shuffled labels (there may be none).
    """
    from engine.model.behavior import tokenised
    from engine.patching import hooks

    answers = list(zip(examples["answer_a"], examples["answer_b"], strict=True))
    names = examples["example_id"].tolist()
    x, edited = (
        tokenised(checkpoint, examples[c].tolist(), answers, names, offsets=False) for c in ("prompt", "edited")
    )
    pairs = []
    for one, other in zip(x, edited, strict=True):
        groups = patch_maps.regions(hooks.align(one.prompt, other.prompt).edit, len(one.prompt))
        pairs.append(hooks.Pair(one, other, groups))
    layers = range(checkpoint.n_layers + 1)
    scores = {"f": hooks.behavior_score(checkpoint)} | explainer.scores(checkpoint, x, answers)
    options = {"batch_size": batch_size, "at_once": hooks.examples_at_once(checkpoint, pairs)}
    known = done.known(len(pairs))
    results = hooks.patch_pairs(checkpoint, pairs, scores, layers, **options, known=known, told=done.told)

    behavior = np.stack([r.effects["f"][..., 0] for r in results])
    said = np.stack([explainer.said(r.effects) for r in results])
    differs = np.stack([r.differs for r in results])
    f = np.array([r.clean["f"][0] for r in results])
    effect = np.array([r.edited["f"][0] for r in results]) - f
    at_x = np.stack([explainer.said(r.clean) for r in results])
    moved = np.stack([explainer.said(r.edited) for r in results]) - at_x
    tokens = np.array([[len(positions) for positions in pair.groups.values()] for pair in pairs])
    everywhere = Maps(behavior, said[..., 0], differs, effect, moved[:, 0])

    columns = [patch_maps.REGIONS.index(region) for region in patch_maps.COMPARED]
    compared = differs[:, :, columns] & (np.arange(len(layers)) < explainer.layer_at(checkpoint))[:, None]
    own, null = (
        Maps(behavior[:, :, columns], said[:, :, columns, which], compared, effect, moved[:, which])
        for which in (0, slice(1, None))
    )
    beyond = patch_maps.beyond_output(own, at_x[:, 0], f)
    return _table(names, explainer.edit, everywhere, tokens), own, beyond, null


def _table(names: Sequence[str], edit: str, maps: Maps, tokens: np.ndarray) -> pa.Table:
    """Rows of records.PATCHING, examples × layers × regions in this order; tokens [examples, regions]."""
    shape = maps.behavior.shape
    example, layer, region = (index.ravel().astype(np.int32) for index in np.indices(shape))

    def rounded(values: np.ndarray) -> np.ndarray:
        return np.round(np.broadcast_to(values, shape).ravel(), DIGITS).astype(np.float32) + np.float32(0)

    columns = {
        "example_id": pa.DictionaryArray.from_arrays(example, list(names)),
        "edit": pa.DictionaryArray.from_arrays(np.zeros_like(example), [edit]),
        "layer": layer,
        "region": pa.DictionaryArray.from_arrays(region, list(patch_maps.REGIONS)),
        "tokens": np.broadcast_to(tokens[:, None], shape).ravel().astype(np.int32),
        "differs": maps.compared.ravel(),
        "behavior": rounded(maps.behavior),
        "explanation": rounded(maps.explanation),
        "effect": rounded(maps.effect[:, None, None]),
        "moved": rounded(maps.moved[:, None, None]),
    }
    return pa.Table.from_pydict(columns, schema=PATCHING)


def agreement_rows(
    own: Maps, beyond: Maps, null: Maps, factors: dict[str, np.ndarray], spec: PatchingSpec
) -> list[dict[str, Any]]:
    """Agreement of both maps with its interval, and its controls, as columns of records.PATCHING_AGREEMENT."""
    rng = np.random.default_rng([spec.seed, 12])
    resamples = bootstrap_weights(rng, spec.bootstrap, **factors)
    rows: list[dict[str, Any]] = []
    for control, maps in ((None, own), ("beyond the output", beyond)):
        r, low, high = patch_maps.mean_interval(patch_maps.agreement(maps), resamples)
        rows.append({"control": control, "r": r, "low": low, "high": high, "draws": None})
    drawn = {
        "another example": patch_maps.with_another_example(own, spec.shuffles, rng),
        "positions permuted": patch_maps.with_positions_permuted(own, spec.shuffles, rng),
    }
    if null.explanation.shape[-1]:
        drawn["shuffled labels"] = patch_maps.means(patch_maps.agreement(null))
    for control, draws in drawn.items():
        r, low, high = patch_maps.mean_band(draws)
        rows.append({"control": control, "r": r, "low": low, "high": high, "draws": len(draws)})
    return [row | {"n_groups": resamples.n_groups} for row in rows]
