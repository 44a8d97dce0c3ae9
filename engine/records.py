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

FORMAT_VERSION = 2
"""Version 1 had other measures in metrics.parquet; `coupling rescore` brings such a run up to date."""
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

INTERVALS = (
    "self",
    "orig",
    "gap",
    "unseen",
    "unseen_over_stale",
    "unseen_over_outputs",
    "self_minus_stale",
    "direction",
)
"""Metrics with an interval: columns NAME, NAME_low and NAME_high."""
CLAIMS: dict[str, tuple[str, ...]] = {
    "coupling": ("gap", "self"),
    "unseen": ("unseen", "unseen_over_stale"),
    "outputs": ("unseen", "unseen_over_stale", "unseen_over_outputs"),
}
"""What may be said of an explainer → the statistics that must all lie above 0 (`engine.stats.verdicts`). Each claim has
columns of its own."""

METRICS = pa.schema(
    [
        *SETTING,
        ("seeds", pa.int32()),
        *_columns(pa.string(), "split metric"),
        *_columns(pa.int32(), "n n_groups n_cues n_entities"),
        *((f"{name}{end}", _VALUE) for name in INTERVALS for end in ("", "_low", "_high")),
        ("left", _VALUE),
        *_columns(pa.string(), "why_not why_not_outputs"),
        ("target_current", _VALUE),
        ("noisy_clean", _VALUE),
        *_columns(_VALUE, "slope mean_effect_error mse_orig_minus_mse_self span_ranking spearman sign_agreement"),
        *_columns(_VALUE, "null_mean null_low null_high gap_p unseen_p"),
        *_columns(pa.string(), " ".join(f"verdict_{claim}" for claim in CLAIMS)),
        *_columns(_VALUE, " ".join(f"{name}_{claim}" for claim in CLAIMS for name in ("power", "detectable"))),
        *_columns(pa.string(), " ".join(f"over_{claim}" for claim in CLAIMS)),
        ("primary", pa.bool_()),
        ("cv", _VALUE),
        ("chosen", pa.bool_()),
    ]
)
"""metrics.parquet; `MEANING` says what each column holds."""

_OF_INTERVALS = {
    "self": "Self: correlation of the explanation with the current model's effect (in words: share of right sentences)",
    "orig": "Orig: the same with the target's effect, or with the labels",
    "gap": "Self − Orig",
    "unseen": "correlation of the explanation with the current f(x'), both freed from f_t(x), f_0(x) and f_0(x')",
    "unseen_over_stale": "unseen, minus that of the explainer on the target's hidden states (in words: of text_only)",
    "unseen_over_outputs": "unseen, freed also from the outputs of the other prompts of the same cue and entity",
    "self_minus_stale": "Self, minus that of the same explainer on the target's hidden states",
    "direction": "correlation of the explanation with z(current effect) − z(target effect)",
}
_OF_CLAIMS = {
    "verdict": "one of VERDICTS, from max-|t| bands over checkpoints; null for rows that are not tested",
    "power": "chance of 'shown' if every statistic of the claim truly were 0.2",
    "detectable": "smallest true value that would be shown in 80% of the cases",
    "over": "controls that the explainer exceeds in a paired comparison, separated by commas",
}
MEANING: dict[str, str] = {
    "checkpoint": "the current model",
    "target": "the checkpoint whose effects are the labels",
    "step": "training step of the checkpoint",
    "explainer": "ridge, linear, mlp or verbal",
    "condition": "another factor that was varied in training, in words",
    "control": "null for the explainer itself, else the control that stands beside it",
    "edit": "kind of edit that makes x' of x",
    "mode": "direct: reads h(x); difference: reads h(x') − h(x)",
    "position": "token position of the hidden state",
    "layer": "layer of the hidden state",
    "penalty": "weight of the explainer's regularisation",
    "regime": "frozen, online or refit",
    "noise_kind": "kind of label noise in training",
    "noise": "level of label noise in training",
    "seeds": "seeds whose correlations are averaged; of a null: number of shuffles",
    "split": "split of the examples",
    "metric": "pearson, or the name of a score of sentences",
    "n": "number of examples",
    "n_groups": "number of independent groups",
    "n_cues": "number of different cues; null where the data have no factors",
    "n_entities": "number of different entities; null where the data have no factors",
    **{name: meaning for name, meaning in _OF_INTERVALS.items()},
    **{f"{name}_low": f"low end of the interval of {name}, for this checkpoint alone" for name in INTERVALS},
    **{f"{name}_high": f"high end of the interval of {name}, for this checkpoint alone" for name in INTERVALS},
    "left": "share of the explanation's variance left given f_t(x), f_0(x), f_0(x'); below 0.05: not testable",
    "why_not": "why nothing is said of the unseen answer; null where something is",
    "why_not_outputs": "why `unseen_over_outputs` can't be tested; null where it can",
    "target_current": "ρ: correlation of the current model's effects with the target's",
    "noisy_clean": "correlation of noisy and clean targets in training, the x axis of noise plots",
    "slope": "slope of the current effect on the explanation; 1: right in size",
    "mean_effect_error": "mean of explanation − current effect, nats",
    "mse_orig_minus_mse_self": "above 0: nearer to the current model in squares, nats²",
    "span_ranking": "Kendall's τ of explanations and effects over the edits of a prompt",
    "spearman": "Spearman's ρ of the explanation with the current effect",
    "sign_agreement": "share of examples whose effect has the explained sign",
    "null_mean": "mean Self of explainers trained on shuffled targets",
    "null_low": "low end of the band of those",
    "null_high": "high end of the band of those",
    "gap_p": "permutation p of the gap: share of explainers trained on shuffled targets with as large a gap",
    "unseen_p": "permutation p of unseen",
    **{f"{name}_{claim}": f"{claim}: {meaning}" for claim in CLAIMS for name, meaning in _OF_CLAIMS.items()},
    "primary": "whether the row belongs to the hypothesis that the spec names (metrics.primary)",
    "cv": "cross-validated correlation with the targets, by which the setting was chosen",
    "chosen": "whether the setting is the headline one of its explainer",
}
"""Column of METRICS → what it holds. Effects are in nats, correlations have no unit."""

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
WORD_CONTROLS = (
    "copy",
    "contrary",
    "consistency",
    "output_text",
    "text_only",
    "stale",
    "small_lm",
    "other_model",
    "null",
)
"""Controls of a probe, and of a model that explains itself in words."""
VERDICTS = ("shown", "reversed", "excluded", "not shown", "not testable")
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
