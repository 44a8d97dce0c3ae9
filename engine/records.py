"""The type of an example, and the Arrow schemas of the tables in a run.

f and effects are in nats. A null means "not computed" or "not defined"; NaN is never written. Columns that start with
`meta_` hold an example's own metadata as text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

FORMAT_VERSION = 1
META = "meta_"

Span = tuple[int, int]
"""Half-open range of characters."""


def example_id(task: str, prompt: str, edited: str, answers: Sequence[str]) -> str:
    """16 hex digits: a hash of the example's content."""
    digest = hashlib.sha256("\x1f".join((task, prompt, edited, *answers)).encode())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Example:
    """One prompt with one counterfactual edit."""

    task: str
    prompt: str
    """x"""
    edited: str
    """x'"""
    edit: str
    """Kind of edit."""
    spans: tuple[Span, ...]
    """The edited ranges, in characters of x."""
    edited_spans: tuple[Span, ...]
    """Their replacements, in characters of x'; empty ranges after a deletion."""
    answer_a: str
    """The cued answer, or the refusal, exactly as it continues the prompt (with its leading space)."""
    answer_b: str
    group: str
    """Unit of splits and of resampling."""
    split: str
    cue: str | None = None
    """First factor of the two-way bootstrap; None if the data have no such factors."""
    entity: str | None = None
    """Second factor of the two-way bootstrap."""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def example_id(self) -> str:
        return example_id(self.task, self.prompt, self.edited, (self.answer_a, self.answer_b))


@dataclass(frozen=True)
class Behavior:
    """f(x) and f(x') of the same examples at one checkpoint, [n] each, in nats."""

    f: np.ndarray
    f_edited: np.ndarray

    @property
    def effect(self) -> np.ndarray:
        """Δ = f(x') − f(x), [n], float64."""
        return np.asarray(self.f_edited, dtype=np.float64) - np.asarray(self.f, dtype=np.float64)

    def take(self, rows: np.ndarray) -> Behavior:
        return Behavior(np.asarray(self.f)[rows], np.asarray(self.f_edited)[rows])


_SPANS = pa.list_(pa.struct([("start", pa.int32()), ("end", pa.int32())]))
_VALUE = pa.float32()
"""Metrics and explanations: seven digits are enough."""


def _columns(kind: pa.DataType, names: str) -> list[tuple[str, pa.DataType]]:
    return [(name, kind) for name in names.split()]


EXAMPLES = pa.schema(
    [
        ("example_id", pa.string()),
        ("prompt_id", pa.int32()),  # row of h(x) in the hidden states; examples of one prompt share it
        *_columns(pa.string(), "task prompt edited edit"),
        *_columns(_SPANS, "spans edited_spans"),
        *_columns(pa.string(), "answer_a answer_b group cue entity split"),
    ]
)
"""examples.parquet; string columns `meta_*` follow."""

BEHAVIOR = pa.schema([("example_id", pa.string()), ("f", pa.float32()), ("f_edited", pa.float32())])
"""behavior/<checkpoint>.parquet, in the order of the examples; the effect is f_edited − f."""

SETTING: list[tuple[str, pa.DataType]] = [
    *_columns(pa.string(), "checkpoint target"),
    ("step", pa.int64()),
    *_columns(pa.string(), "explainer condition control edit mode position"),
    ("layer", pa.int32()),
    ("penalty", pa.float64()),
    *_columns(pa.string(), "regime noise_kind"),
    ("noise", pa.float64()),
]
"""Columns that identify a setting, in explanations and metrics; `control` is null for the explainer itself."""

EXPLANATIONS = pa.schema(
    [
        *((n, pa.dictionary(pa.int32(), t) if t == pa.string() else t) for n, t in SETTING),
        ("chosen", pa.bool_()),
        ("example_id", pa.dictionary(pa.int32(), pa.string())),
        ("explanation", pa.float32()),
        ("text", pa.string()),
    ]
)
"""explanations.parquet, one row per example outside train: the explanation in nats, averaged over seeds, or the text of
`verbal`. It holds noise 0 and 0.5 of each explainer × regime × edit at its best setting (mode direct), and the controls
that have a value for each example."""

INTERVALS = ("self", "orig", "gap", "counterfactual_gap", "change_tracking", "self_minus_stale", "direction")
"""Metrics with an interval: columns NAME, NAME_low and NAME_high."""

METRICS = pa.schema(
    [
        *SETTING,
        ("seeds", pa.int32()),
        *_columns(pa.string(), "split metric"),
        *_columns(pa.int32(), "n n_groups"),
        *((f"{name}{end}", _VALUE) for name in INTERVALS for end in ("", "_low", "_high")),
        ("testable", pa.bool_()),
        ("target_current", _VALUE),
        ("noisy_clean", _VALUE),  # correlation of noisy and clean targets in training, the x axis of noise plots
        *_columns(_VALUE, "slope mean_effect_error mse_orig_minus_mse_self span_ranking spearman sign_agreement"),
        *_columns(_VALUE, "null_mean null_low null_high"),
        *_columns(pa.string(), "verdict_coupling verdict_counterfactual"),
        ("cv", _VALUE),  # cross-validated correlation with the targets, by which the setting was chosen
        ("chosen", pa.bool_()),
    ]
)

PATCHING = pa.schema(
    [
        ("example_id", pa.dictionary(pa.int32(), pa.string())),
        ("edit", pa.dictionary(pa.int32(), pa.string())),
        ("layer", pa.int32()),
        ("region", pa.dictionary(pa.int32(), pa.string())),
        ("tokens", pa.int32()),  # positions of x in the region; 0: the example has none
        ("differs", pa.bool_()),  # whether the states of x and x' differ there; if not, nothing is patched
        ("behavior", _VALUE),  # f of the patched forward − f(x)
        ("explanation", _VALUE),  # explanation from the patched forward − explanation from x
        ("effect", _VALUE),  # Δ of the example
        ("moved", _VALUE),  # explanation from x' − explanation from x
    ]
)
"""patching/<checkpoint>.maps.parquet: one row per example, layer and region (`engine.patching.maps`); nats."""

PATCHING_AGREEMENT = pa.schema(
    [
        ("checkpoint", pa.string()),
        ("step", pa.int64()),
        *_columns(pa.string(), "edit explainer"),
        ("probe_layer", pa.int32()),
        ("penalty", pa.float64()),
        ("split", pa.string()),
        ("control", pa.string()),  # null: the explainer itself
        *_columns(_VALUE, "r low high"),
        ("draws", pa.int32()),  # of a control that is a distribution; low and high are then its band
        *_columns(pa.int32(), "n n_groups"),
    ]
)
"""patching/<checkpoint>.agreement.parquet: mean correlation of an example's two maps, with interval; its controls."""

CONTROLS = ("output", "output_text", "text_only", "stale", "other_model", "null", "ceiling", "difference")
VERDICTS = ("holds", "reverses", "absent", "inconclusive", "not testable")
SPLITS = ("train", "validation", "test_heldout", "test_iid")

BLOCK = 16_384
"""Examples that are turned into a table at once."""


def examples_table(examples: Iterable[Example]) -> pa.Table:
    """Examples as a table of EXAMPLES and `meta_*`. Of several examples with one example_id the first is kept.

    The table is made in blocks, because rows need much more memory as Python objects than in the table.
    """
    seen: set[str] = set()
    prompts: dict[str, int] = {}
    keys: dict[str, None] = {}
    blocks: list[pa.Table] = []
    rows: list[dict] = []

    def end_block() -> None:
        schema = pa.schema([*EXAMPLES, *((META + k, pa.string()) for k in keys)])
        blocks.append(pa.Table.from_pylist(rows, schema=schema))
        rows.clear()

    for e in examples:
        keys.update(dict.fromkeys(e.metadata))
        prompt_id = prompts.setdefault(e.prompt, len(prompts))
        row: dict[str, Any] = {"example_id": e.example_id, "prompt_id": prompt_id}
        if row["example_id"] in seen:
            continue
        seen.add(row["example_id"])
        row |= {name: getattr(e, name) for name in EXAMPLES.names if name not in row}
        rows.append(row | {META + k: v for k, v in e.metadata.items()})
        if len(rows) == BLOCK:
            end_block()
    end_block()
    return pa.concat_tables(blocks, promote_options="default").combine_chunks()


def spans_of(value: Iterable[dict] | None) -> tuple[Span, ...]:
    """Spans as read back from a table."""
    return tuple((int(s["start"]), int(s["end"])) for s in (() if value is None else value))


def metrics_table(rows: Sequence[dict]) -> pa.Table:
    """Rows (dicts of columns) as a table of METRICS. Absent, NaN and infinite values become null."""
    frame = pd.DataFrame(list(rows)).reindex(columns=METRICS.names)
    columns = []
    for column in METRICS:
        values = frame[column.name].astype(object)
        if pa.types.is_floating(column.type):
            values = pd.to_numeric(values, errors="coerce").replace([float("inf"), float("-inf")], float("nan"))
        columns.append(pa.array(values.tolist(), type=column.type, from_pandas=True))
    return pa.Table.from_arrays(columns, schema=METRICS)
