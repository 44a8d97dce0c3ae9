"""Scores a stored run anew, with the measures of this version, from explanations and behavior. No model is loaded.

Self, Orig, gap and everything else that a row already holds stays. What the measures of this version add is computed
where explanations are stored example by example; elsewhere it is null. The table of metrics as it was is kept in the
run, as `metrics.before.parquet`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.config import InputError
from engine.probes.rescore import rescored
from engine.progress import Progress, silent
from engine.records import CLAIMS, FORMAT_VERSION, INTERVALS, METRICS, SETTING, metrics_table
from engine.runs.observed import Observed
from engine.runs.store import Run
from engine.tasks import WORDINGS
from engine.verbal import stage as verbal
from engine.verbal.texts import evaluated

PART, BEFORE = "metrics.parquet", "metrics.before.parquet"
KEY = (*(name for name, _ in SETTING), "split", "metric")
ADDED = frozenset(
    [
        *(f"{name}{end}" for name in INTERVALS if name.startswith("unseen") for end in ("", "_low", "_high")),
        *("left", "why_not", "why_not_outputs", "n_cues", "n_entities", "primary"),
        *(f"{name}_{claim}" for claim in CLAIMS for name in ("verdict", "power", "detectable", "over")),
    ]
)
"""Columns that the measures of this version fill."""
Row = dict[str, Any]


def rescore(path: Path | str, progress: Progress = silent) -> Run:
    """Score a finished run anew, in place, and return it. Raises InputError for a run that is not complete.

    Killed at any point, it can be called again.
    """
    run = Run.extend(path)
    try:
        observed = Observed(run, run.measured)
        if PART not in run.parts and BEFORE not in run.parts:
            raise InputError(f"{run.path}: has no metrics: make the run again")
        old = run.read_table(PART if run.has(PART) else BEFORE)
        fresh = rescored(observed, progress) if run.spec.probes else []
        said = words_anew(observed) if run.spec.verbal else []
        if run.has(PART):
            run.write_table(BEFORE, old)
        known = run.manifest["format_version"] >= FORMAT_VERSION
        run.write_table(PART, metrics_table(merged(old.to_pylist(), fresh, said, known)))
        run.manifest["format_version"] = FORMAT_VERSION
        run.finish()
    finally:
        run.close()
    return run


def merged(old: Sequence[Row], fresh: Sequence[Row], said: Sequence[Row], known: bool) -> list[Row]:
    """Old rows with the added columns of fresh rows; rows of words are replaced as a whole.

    known: the old rows come from this version, so those without a fresh row keep what they hold.
    """
    new, words = ({_key(row): row for row in rows} for rows in (fresh, said))
    out = []
    for row in old:
        key = _key(row)
        if key in words:
            out.append(words[key])
            continue
        mine = {name: row.get(name) for name in METRICS.names if known or name not in ADDED}
        if key in new:
            mine |= {name: value for name, value in new[key].items() if name in ADDED}
        out.append(mine)
    return out


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(None if isinstance(v, float) and math.isnan(v) else v for v in (row.get(name) for name in KEY))


def words_anew(observed: Observed) -> list[Row]:
    """Rows of the model's own sentences and of the controls that need no model."""
    table = observed.record.read_table("explanations.parquet", ["checkpoint", "explainer", "example_id", "text"])
    table = table.to_pandas()
    table = table[(table["explainer"] == "verbal") & table["text"].notna()]
    examples, wording = observed.examples.iloc[evaluated(observed)], WORDINGS[observed.spec.task.name]
    words = {}
    for name in observed.currents:
        texts = table[table["checkpoint"] == name].drop_duplicates("example_id").set_index("example_id")["text"]
        found = texts.reindex(examples["example_id"])
        if found.isna().any():
            raise InputError(f"{observed.record.path}: sentences of {name} are missing: make the run again")
        questions = [wording.question(edit).strip() for edit in examples["edit"]]
        words[name] = [text.removeprefix(q) for text, q in zip(found, questions, strict=True)]
    return verbal.judge(observed, words)[1]
