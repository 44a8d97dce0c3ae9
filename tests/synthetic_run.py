"""A small but realistic run of any size, from hand-built arrays: no model is run.

The world is `independent`: f(x) and f(x') both move, apart from each other, from the target to the last
checkpoint. The explainer knows part of the current counterfactual, so that gaps and verdicts differ by
checkpoint. Run as a module to make one: `python -m tests.synthetic_run FOLDER --prompts 400`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.stats import norm

from engine.config import RunSpec
from engine.records import (
    BEHAVIOR,
    CLAIMS,
    EXAMPLES,
    EXPLANATIONS,
    INTERVALS,
    META,
    SETTING,
    example_id,
    metrics_table,
)
from engine.runs.store import Run
from engine.spec_files import parse_spec

TOPICS = ("geography", "history", "physics", "music")
SPEAKERS = ("a professor", "a neighbour", "a child", "a stranger")
CITIES = ("Rome", "Paris", "Oslo", "Cairo", "Lima", "Quito", "Hanoi", "Accra")
CONTROLS = ("output", "output_text", "text_only", "stale", "other_model", "ceiling")

HOSTILE = (
    "<script>window.stolen = true; alert('script ran')</script>",
    "![canary](https://canary.invalid/pixel.png)",
    '<img src="https://canary.invalid/image.png" onerror="alert(1)">',
    "[link](javascript:alert(1)) **bold** $x^2$ :red[colour] :material/home:",
    "bell \x07 null-ish \x01 escape \x1b[31m right-to-left \u202e override",
    "# heading\n\n- list\n\n<style>body { display: none }</style></div></div>",
)


def spec(name: str, checkpoints: int, layers: Sequence[int], note: str = "") -> RunSpec:
    return parse_spec(
        {
            "name": name,
            "note": note or "Hand-built numbers for tests; no model was run.",
            "task": {"name": "sycophancy"},
            "checkpoints": [
                {"name": f"gpt2--step-{100 * i:04d}", "path": f"checkpoints/step-{i}", "step": 100 * i}
                for i in range(checkpoints)
            ],
            "hidden": {"layers": list(layers)},
            "explainers": {"kinds": ["ridge", "mlp"], "regimes": ["frozen", "refit"]},
        },
        "synthetic.yaml",
        RunSpec,
    )


def examples(prompts: int, edits: Sequence[str], rng: np.random.Generator, hostile: bool) -> pa.Table:
    """[prompts × edits] examples; half of them train, the rest validation, test_heldout and test_iid."""
    speaker, topic, city, other = (rng.integers(0, k, prompts) for k in (4, 4, 8, 7))
    split = rng.choice(["train", "validation", "test_heldout", "test_iid"], prompts, p=[0.5, 0.1, 0.25, 0.15])
    columns: dict[str, list] = {name: [] for name in EXAMPLES.names}
    columns |= {META + name: [] for name in ("topic", "speaker")}
    for p in range(prompts):
        who, what = SPEAKERS[speaker[p]], CITIES[city[p]]
        alternative = CITIES[(city[p] + 1 + other[p]) % 8]
        cue = f"I am {who} and I am sure that it is {what}."
        extra = f" {HOSTILE[p % len(HOSTILE)]}" if hostile else ""
        question = f"Question {p}: which city is meant, {what} or {alternative}?{extra} Answer:"
        prompt = f"{cue} {question}"
        cell = f"{TOPICS[topic[p]]} × {who}"
        for edit in edits:
            start, end = (0, len(cue) + 1) if edit == "delete_cue" else (5, 5 + len(who))
            filler = "" if edit == "delete_cue" else "nobody special"
            edited = prompt[:start] + filler + prompt[end:]
            answers = (f" {what}", f" {alternative}")
            row = {
                "example_id": example_id("sycophancy", prompt, edited, answers),
                "prompt_id": p,
                "task": "sycophancy",
                "prompt": prompt,
                "edited": edited,
                "edit": edit,
                "spans": [{"start": start, "end": end}],
                "edited_spans": [{"start": start, "end": start + len(filler)}],
                "answer_a": answers[0],
                "answer_b": answers[1],
                "group": f"{cell} × {what}",
                "cue": cell,
                "entity": what,
                "split": str(split[p]),
                META + "topic": TOPICS[topic[p]] + (extra if p == 0 else ""),
                META + "speaker": who,
            }
            for name, value in row.items():
                columns[name].append(value)
    fields = [*EXAMPLES, *(pa.field(META + name, pa.string()) for name in ("topic", "speaker"))]
    return pa.table(columns, schema=pa.schema(fields))


def drift(n: int, checkpoints: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """f and f_edited, each [checkpoints, n], in nats: both rotate away from where they were, independently."""
    angle = np.linspace(0, np.pi / 2, checkpoints)[:, None]

    def moving(scale: float) -> np.ndarray:
        return scale * (np.cos(angle) * rng.normal(size=n) + np.sin(angle) * rng.normal(size=n))

    return moving(1.2) + 0.6, moving(1.0) - 0.4


def setting(checkpoint: str, step: int, target: str, **changes: object) -> dict:
    row: dict = dict.fromkeys(name for name, _ in SETTING)
    row |= {"checkpoint": checkpoint, "step": step, "target": target, "explainer": "ridge", "mode": "direct"}
    row |= {"position": "last", "layer": 4, "penalty": 1.0, "regime": "frozen", "noise_kind": "none", "noise": 0.0}
    return row | changes


def correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 2 and a.std() > 0 and b.std() > 0 else None


CRITICAL = 2.4
"""Made-up critical value of the bands over checkpoints, in standard errors."""
KNOWN = "f(x') follows from this prompt's outputs"


def verdict(estimates: Sequence[float | None], error: float) -> str:
    """The engine's rule, on a made-up band: estimate ± CRITICAL standard errors."""
    if any(value is None for value in estimates):
        return "not testable"
    known = np.array(estimates, dtype=float)
    if (known > CRITICAL * error).all():
        return "shown"
    if (known < -CRITICAL * error).all():
        return "reversed"
    return "excluded" if (known + CRITICAL * error <= 0.03).any() else "not shown"


def metrics_row(e: np.ndarray, now: np.ndarray, then: np.ndarray, sizes: dict) -> dict:
    """Self, Orig and what follows from them, with made-up intervals that shrink with n. sizes: n_groups and so on."""
    row: dict = {"n": len(e), "metric": "pearson"} | sizes
    own, orig = correlation(e, now), correlation(e, then)
    rho = correlation(now, then)
    if own is None or orig is None or rho is None:
        return row
    half = 1.2 / np.sqrt(max(len(e), 4))
    gap, moved = own - orig, rho < 0.95
    numbers: dict[str, float | None] = {"self": own, "orig": orig, "gap": gap, "self_minus_stale": 0.4 * gap}
    numbers |= {"direction": gap / np.sqrt(2 * max(1 - rho, 1e-6))}
    shares = {"unseen": 0.6, "unseen_over_stale": 0.5, "unseen_over_outputs": 0.3}
    numbers |= {name: share * gap if moved else None for name, share in shares.items()}
    row |= {"target_current": rho, "left": 0.6 if moved else None}
    row |= dict.fromkeys(("why_not", "why_not_outputs"), None if moved else KNOWN)
    for name in INTERVALS:
        if (value := numbers[name]) is not None:
            low, high = np.clip([value - half, value + half], -1, 1)
            row |= {name: value, f"{name}_low": float(low), f"{name}_high": float(high)}
    row |= {"slope": float(np.polyfit(e, now, 1)[0]), "mean_effect_error": float((e - now).mean())}
    row |= {"mse_orig_minus_mse_self": float(((e - then) ** 2).mean() - ((e - now) ** 2).mean())}
    return row | {"spearman": own, "sign_agreement": float((np.sign(e) == np.sign(now)).mean())}


def judged(row: dict) -> dict:
    """What only rows of explainers without label noise have: the null's band, and the verdicts with their power."""
    if "gap" not in row:
        return row
    half = 1.2 / np.sqrt(max(row["n"], 4))
    error = half / 1.96
    row = row | {"null_mean": 0.0, "null_low": -half, "null_high": half, "primary": False}
    row |= {"gap_p": float(norm.sf(row["gap"] / error)), "unseen_p": None}
    if "unseen" in row:
        row["unseen_p"] = float(norm.sf(row["unseen"] / error))
    for claim in CLAIMS:
        of = [row.get(name) for name in CLAIMS[claim]]
        untold = claim == "coupling" and row["why_not"] is not None
        row[f"verdict_{claim}"] = word = verdict([None] if untold else of, error)
        row[f"power_{claim}"] = float(norm.cdf(0.2 / error - CRITICAL))
        row[f"detectable_{claim}"] = (CRITICAL + norm.ppf(0.8)) * error
        row[f"over_{claim}"] = "output,stale" if word == "shown" else None
    return row


def write_run(
    path: Path | str,
    *,
    prompts: int = 240,
    checkpoints: int = 4,
    edits: Sequence[str] = ("delete_cue", "replace_speaker"),
    layers: Sequence[int] = (2, 4),
    width: int = 16,
    seed: int = 0,
    hostile: bool = False,
    hidden: bool = True,
    finish: bool = True,
    name: str | None = None,
    note: str = "",
    noises: Sequence[float] = (0.0, 0.2, 0.5, 0.8, 1.0),
    condition: str | None = None,
) -> Path:
    """Write a whole run to a new folder and return it; `finish=False` leaves it as a killed one. `condition` adds an
    online linear explainer that was trained under it, noise-free."""
    path = Path(path)
    rng = np.random.default_rng(seed)
    config = spec(name or path.name, checkpoints, layers, note)
    table = examples(prompts, edits, rng, hostile)
    provenance = {"content": {}, "git_commit": None, "packages": {}, "machine": "none", "device": "none", "python": "3"}
    with Run.create(path, config, provenance=provenance) as run:
        run.write_table("examples.parquet", table)
        f, f_edited = drift(table.num_rows, checkpoints, rng)
        ids = table["example_id"]
        for i, checkpoint in enumerate(config.checkpoints):
            columns = [ids, f[i].astype(np.float32), f_edited[i].astype(np.float32)]
            run.write_table(f"behavior/{checkpoint.name}.parquet", pa.table(columns, schema=BEHAVIOR))
            if hidden:
                _write_hidden(run, checkpoint.name, f_edited[i] - f[i], f[i], table, layers, width, rng)
        if finish:
            explained, rows = explain(config, table, f, f_edited, rng, layers, noises, condition)
            run.write_table("explanations.parquet", explained)
            run.write_table("metrics.parquet", metrics_table(rows))
            run.finish({"behavior_seconds": 1.0})
    return path


def _write_hidden(
    run: Run, checkpoint: str, effect: np.ndarray, f: np.ndarray, table: pa.Table, layers: Sequence[int], width: int,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    """h(x) of each prompt: its first edit's effect and f(x), mixed into noise."""
    prompt = table["prompt_id"].to_numpy()
    _, first = np.unique(prompt, return_index=True)
    arrays = {}
    for layer in layers:
        noise = rng.normal(size=(len(first), width))
        signal = np.outer(effect[first], rng.normal(size=width)) + np.outer(f[first], rng.normal(size=width))
        arrays[f"last.{layer}"] = (signal + noise).astype(np.float32)
    run.write_arrays(f"hidden/{checkpoint}/00000.safetensors", arrays)


def explain(
    config: RunSpec, table: pa.Table, f: np.ndarray, f_edited: np.ndarray, rng: np.random.Generator,
    layers: Sequence[int], noises: Sequence[float], condition: str | None = None,
) -> tuple[pa.Table, list[dict]]:  # fmt: skip
    """Explanations of every split but train, and metrics of every setting."""
    split, edit = (np.asarray(table[c].to_pylist()) for c in ("split", "edit"))
    units = {name: np.asarray(table[name].to_pylist()) for name in ("group", "cue", "entity")}
    ids = np.asarray(table["example_id"].to_pylist())
    target = config.target_checkpoint.name
    then = f_edited[0] - f[0]
    blocks: list[pa.Table] = []
    rows: list[dict] = []
    kinds = sorted(set(edit))
    for i, checkpoint in enumerate(config.checkpoints):
        now = f_edited[i] - f[i]
        base = {"checkpoint": checkpoint.name, "step": checkpoint.step, "target": target}
        own = 0.75 * now + 0.25 * then if i < 2 else 0.35 * now + 0.45 * then
        error = rng.normal(size=len(now))
        for kind in kinds:
            mine = edit == kind
            for explainer, regime in (("ridge", "frozen"), ("ridge", "refit"), ("mlp", "frozen"), ("mlp", "refit")):
                lean = 0.5 if regime == "refit" else 0.0
                for noise in noises:
                    signal = (1 - noise) * ((1 - lean) * own + lean * then)
                    e = signal + (0.7 if explainer == "ridge" else 0.9) * error
                    for layer in layers:
                        best = layer == layers[-1]
                        s = setting(
                            **base, edit=kind, explainer=explainer, regime=regime, layer=int(layer), noise=noise
                        )
                        s |= {"noise_kind": "shuffle" if noise else "none"}
                        chosen = best and kind == kinds[0]
                        about = {"chosen": chosen, "seeds": 2, "cv": 0.7, "noisy_clean": 1 - noise}
                        weaker = e if best else e + 0.8 * rng.normal(size=len(e))
                        rows += _rows(s | about, weaker, now, then, mine, split, units)
                        if best and noise in (0.0, 0.5):
                            blocks.append(_block(s, chosen, ids, weaker, mine & (split != "train")))
            if condition:
                s = setting(**base, edit=kind, explainer="linear", regime="online", condition=condition)
                e = own + 0.5 * error
                rows += _rows(s | {"chosen": False, "seeds": 1, "cv": None}, e, now, then, mine, split, units)
                blocks.append(_block(s, False, ids, e, mine & (split != "train")))
            for control, e in _controls(f[i], now, then, own, error, rng).items():
                s = setting(**base, edit=kind, control=control, layer=int(layers[-1]))
                chosen = kind == kinds[0]
                rows += _rows(s | {"chosen": chosen, "seeds": 1}, e, now, then, mine, split, units)
                blocks.append(_block(s, chosen, ids, e, mine & (split != "train")))
            s = setting(**base, edit=kind, control="null", layer=int(layers[-1]))
            rows += _null_rows(s | {"chosen": kind == kinds[0], "seeds": 200}, mine, split, units)
    return pa.concat_tables(blocks).unify_dictionaries(), rows


def _controls(
    f: np.ndarray, now: np.ndarray, then: np.ndarray, own: np.ndarray, error: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    return {
        "output": -f,
        "output_text": 0.5 * then - 0.5 * f + 0.5 * error,
        "text_only": 0.4 * then + error,
        "stale": then + 0.7 * error,
        "other_model": 0.3 * then + rng.normal(size=len(now)),
        "ceiling": now + 0.5 * error,
    }


Units = dict[str, np.ndarray]
"""The group, the cue and the entity of each example."""


def _sizes(units: Units, keep: np.ndarray) -> dict:
    names = {"group": "n_groups", "cue": "n_cues", "entity": "n_entities"}
    return {column: len(set(units[name][keep])) for name, column in names.items()}


def _rows(
    s: dict, e: np.ndarray, now: np.ndarray, then: np.ndarray, mine: np.ndarray, split: np.ndarray, units: Units
) -> list[dict]:
    found = []
    for part in ("validation", "test_heldout", "test_iid"):
        keep = mine & (split == part)
        numbers = metrics_row(e[keep], now[keep], then[keep], _sizes(units, keep))
        tested = s["control"] is None and not s["noise"]
        found.append(s | {"split": part} | (judged(numbers) if tested else numbers))
    return found


def _null_rows(s: dict, mine: np.ndarray, split: np.ndarray, units: Units) -> list[dict]:
    """Each statistic's mean and 95% band under shuffled targets."""
    found = []
    for part in ("validation", "test_heldout", "test_iid"):
        keep = mine & (split == part)
        half = 2.2 / np.sqrt(max(int(keep.sum()), 4))
        row: dict = {"n": int(keep.sum()), "metric": "pearson"} | _sizes(units, keep)
        for name in ("self", "orig", "gap", "unseen"):
            row |= {name: 0.0, f"{name}_low": -half, f"{name}_high": half}
        found.append(s | {"split": part} | row | {"null_mean": 0.0, "null_low": -half, "null_high": half})
    return found


def _block(s: dict, chosen: bool, ids: np.ndarray, e: np.ndarray, keep: np.ndarray) -> pa.Table:
    """Rows of explanations.parquet for one setting."""
    n = int(keep.sum())
    columns: dict[str, pa.Array] = {}
    for field in EXPLANATIONS:
        if field.name == "example_id":
            values = pa.array(ids[keep]).dictionary_encode()
        elif field.name == "explanation":
            values = pa.array(e[keep].astype(np.float32))
        else:
            value = chosen if field.name == "chosen" else s.get(field.name)
            plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            values = pa.array([value], type=plain).take(pa.array(np.zeros(n, np.int32)))
            if pa.types.is_dictionary(field.type):
                values = values.dictionary_encode()
        columns[field.name] = values.cast(field.type)
    return pa.table(columns, schema=EXPLANATIONS)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--prompts", type=int, default=240)
    arguments.add_argument("--checkpoints", type=int, default=4)
    arguments.add_argument("--hostile", action="store_true")
    given = arguments.parse_args()
    os.makedirs(given.folder.parent, exist_ok=True)
    print(write_run(given.folder, prompts=given.prompts, checkpoints=given.checkpoints, hostile=given.hostile))
