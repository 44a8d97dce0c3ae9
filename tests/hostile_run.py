"""A run whose every text attacks the page that shows it: prompts, names, metadata, notes, errors, folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.records import BEHAVIOR, EXAMPLES, META, example_id, metrics_table
from engine.runs.store import Run
from tests.synthetic_run import _block, _rows, _write_hidden, drift, examples, explain, setting, spec

ATTACK = (
    "<script>window.stolen = 1; alert(1)</script><img src='https://canary.invalid/a.png' onerror='alert(1)'>"
    "![c](https://canary.invalid/b.png) [l](javascript:alert(1)) $x^2$ :material/skull: :rainbow[rainbowed] `code` "
    "bell \x07 escape \x1b[31m turned \u202e round <style>body { display: none }</style></div></div>"
)
FOLDER = "<img src=x onerror=alert(1)> $x^2$ :material-skull: `code`"
LONG = 1_000_000
"""Characters of the first prompt."""


def attacked(table: pa.Table) -> pa.Table:
    """Examples with the attack in every text; the first prompt has a megabyte more."""
    rows = table.to_pylist()
    for row in rows:
        for name in ("prompt", "edited", "answer_a", "answer_b", "group", "cue", "entity", "edit"):
            row[name] = f"{row[name]} {ATTACK}"
        row |= {f"{META}{ATTACK}": ATTACK, f"{META}topic": f"{row[META + 'topic']} {ATTACK}"}
        if row["prompt_id"] == 0:
            row |= {"prompt": row["prompt"] + "long " * (LONG // 5), "edited": row["edited"] + "long " * (LONG // 5)}
            row["split"] = "test_heldout"
        row["example_id"] = example_id(row["task"], row["prompt"], row["edited"], (row["answer_a"], row["answer_b"]))
    texts = [n for n in table.column_names if n.startswith(META)] + [f"{META}{ATTACK}"]
    return pa.Table.from_pylist(rows, schema=pa.schema([*EXAMPLES, *(pa.field(n, pa.string()) for n in texts)]))


def write_hostile_run(folder: Path, prompts: int = 40) -> Path:
    """The run, in a folder of its own under `folder`, with a failed and an unreadable one beside it."""
    rng = np.random.default_rng(0)
    config = spec("hostile", 2, (2, 4), note=ATTACK)
    table = attacked(examples(prompts, ("delete_cue", "replace_speaker"), rng, hostile=False))
    provenance = {"content": {ATTACK: ATTACK}, "packages": {ATTACK: ATTACK}, "git_commit": ATTACK, "machine": ATTACK}
    path = folder / FOLDER
    with Run.create(path, config, provenance=provenance | {"device": ATTACK, "python": ATTACK}) as run:
        run.write_table("examples.parquet", table)
        f, f_edited = drift(table.num_rows, 2, rng)
        for i, checkpoint in enumerate(config.checkpoints):
            columns = [table["example_id"], f[i].astype(np.float32), f_edited[i].astype(np.float32)]
            run.write_table(f"behavior/{checkpoint.name}.parquet", pa.table(columns, schema=BEHAVIOR))
            _write_hidden(run, checkpoint.name, f_edited[i] - f[i], f[i], table, (2, 4), 16, rng)
        explained, rows = explain(config, table, f, f_edited, rng, (2, 4), (0.0, 0.5), condition=ATTACK)
        own_words, own_rows = _in_words(config.checkpoints[-1].name, table, f, f_edited)
        run.write_table("explanations.parquet", pa.concat_tables([explained, own_words]).unify_dictionaries())
        run.write_table("metrics.parquet", metrics_table([*rows, *own_rows]))
        run.note(**{ATTACK: ATTACK})
        run.finish({ATTACK: 1.0})
    _beside(path, folder / "failed", lambda m: m | {"status": "failed", "error": ATTACK})
    _beside(path, folder / "unreadable", lambda m: m | {"spec": m["spec"] | {"name": ATTACK, ATTACK: ATTACK}})
    return path


def _in_words(checkpoint: str, table: pa.Table, f: np.ndarray, f_edited: np.ndarray) -> tuple[pa.Table, list[dict]]:
    """What a `verbal` explainer says: the attack."""
    ids, split, edit = (np.asarray(table[c].to_pylist()) for c in ("example_id", "split", "edit"))
    units = {name: np.asarray(table[name].to_pylist()) for name in ("group", "cue", "entity")}
    now, then = f_edited[-1] - f[-1], f_edited[0] - f[0]
    kind = edit[0]
    about = setting(checkpoint, 100, "gpt2--step-0000", edit=str(kind), explainer="verbal", layer=None, penalty=None)
    block = _block(about, False, ids, now, (edit == kind) & (split != "train"))
    at = block.schema.get_field_index("text")
    block = block.set_column(at, block.schema.field(at), pa.array([ATTACK] * len(block)))
    return block, _rows(about | {"chosen": False, "seeds": 1}, now, now, then, edit == kind, split, units)


def _beside(path: Path, other: Path, change: Callable[[dict], dict]) -> None:
    other.mkdir()
    (other / "run.json").write_text(json.dumps(change(json.loads((path / "run.json").read_text()))))
