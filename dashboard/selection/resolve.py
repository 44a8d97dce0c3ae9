"""The selection as a value: query parameters in, checked against the run; query parameters out. No Streamlit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dashboard.reading import data
from dashboard.reading.example_rows import SORTS
from dashboard.reading.slices import Slice, SliceError, parse
from engine.runs.store import RunError


@dataclass(frozen=True)
class Selection:
    """What is looked at. Every value fits the run."""

    run: data.RunEntry
    options: data.Options
    checkpoint: str
    explainer: str
    regime: str
    layer: int | None
    """None: the chosen one."""
    noise_kind: str
    noise: float
    split: str
    edit: str | None
    """None: all kinds."""
    slice: Slice
    sort: str
    example: str | None
    second: data.RunEntry | None
    hash: str | None
    """Hash of the run's content when the permalink was made."""
    condition: str | None = None
    """What else was varied in the explainer's training; None: nothing."""

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def setting(self) -> data.Setting:
        return data.Setting(self.checkpoint, self.explainer, self.regime, self.noise_kind, self.noise, self.condition)

    @property
    def regimes(self) -> tuple[str, ...]:
        """The regimes of the explainer under the condition."""
        return self.options.regimes_of(self.condition)[self.explainer] or ("frozen",)

    def parameters(self) -> dict[str, str]:
        """As query parameters; what is not set is left out."""
        values = {
            "run": self.run.key,
            "second": self.second.key if self.second else None,
            "checkpoint": self.checkpoint,
            "condition": self.condition,
            "explainer": self.explainer,
            "regime": self.regime,
            "layer": self.layer,
            "noise": noise_text(self.noise_kind, self.noise),
            "split": self.split,
            "edit": self.edit,
            "slice": str(self.slice) or None,
            "sort": self.sort if self.sort != "order" else None,
            "example": self.example,
            "hash": self.hash,
        }
        return {name: str(value) for name, value in values.items() if value is not None}


def noise_text(kind: str, level: float) -> str:
    """`none`, or kind and level: `shuffle-0.5`."""
    return "none" if kind == "none" else f"{kind}-{level:g}"


def resolve(
    parameters: Mapping[str, str],
    runs: Sequence[data.RunEntry],
    options_of: Callable[[Path], data.Options],
) -> tuple[Selection, dict[str, str]]:
    """The selection that the parameters name, and for each that does not fit a line that says so.

    `runs` holds one run or more. Raises RunError where the run named can't be read.
    """
    complaints: dict[str, str] = {}

    def pick(name: str, choices: Mapping[str, Any], default: Any) -> Any:
        given = parameters.get(name)
        if given in (None, ""):
            return default
        if given not in choices:
            complaints[name] = f"{name}: this run has no {given[:80]!r}; shown instead: {default_text(name, default)}"
            return default
        return choices[given]

    by_key = {entry.path.name: entry for entry in reversed(runs)} | {entry.key: entry for entry in runs}
    readable = next((e for e in runs if e.state == "complete"), runs[0])
    run = by_key.get(parameters.get("run", ""), readable)
    if parameters.get("run") and parameters["run"] not in by_key:
        complaints["run"] = f"run: there is no {parameters['run'][:80]!r} here; shown instead: {run.key}"
    options = options_of(run.path)
    if not (options.explainers or options.varied) or not options.splits:
        raise RunError(f"{run.key}: holds no measured explainer yet")
    condition = pick("condition", same(options.varied), None if options.explainers else next(iter(options.varied)))
    explainers = options.regimes_of(condition)
    explainer = pick("explainer", same(explainers), next(iter(explainers)))
    regimes = explainers[explainer] or ("frozen",)
    noises = {noise_text(*pair): pair for pair in options.noises}
    kind, level = pick("noise", noises, default_noise(options))
    columns = options.columns
    try:
        part = parse(parameters.get("slice", ""), columns)
    except SliceError as error:
        complaints["slice"] = str(error)
        part = Slice()
    example = parameters.get("example")
    return Selection(
        run=run,
        options=options,
        checkpoint=pick("checkpoint", same(options.checkpoints), options.checkpoints[-1]),
        explainer=explainer,
        regime=pick("regime", same(regimes), regimes[0]),
        layer=pick("layer", {str(layer): layer for layer in options.layers}, None),
        noise_kind=kind,
        noise=level,
        split=pick("split", same(options.splits), default_split(options.splits)),
        edit=pick("edit", same(options.edits), None),
        slice=part,
        sort=pick("sort", same(SORTS), "order"),
        example=example[:64] if example else None,
        second=by_key.get(parameters.get("second", "")),
        hash=parameters.get("hash", "")[:64] or None,
        condition=condition,
    ), complaints


def same(choices: Sequence[str] | Mapping[str, Any]) -> dict[str, str]:
    return {choice: choice for choice in choices}


def default_split(splits: Sequence[str]) -> str:
    return next((s for s in ("test_heldout", "test_iid", "validation") if s in splits), splits[0])


def default_noise(options: data.Options) -> tuple[str, float]:
    """None, but for a model that was trained on noisy labels: it has no other measurement."""
    clean = ("none", 0.0)
    return clean if clean in options.noises or not options.noises else options.noises[0]


def default_text(name: str, value: Any) -> str:
    if value is None:
        return {"condition": "none", "layer": "chosen"}.get(name, "all")
    return noise_text(*value) if isinstance(value, tuple) else str(value)


def with_changes(selection: Selection, **changes: Any) -> dict[str, str]:
    """Query parameters of a link to the selection with changes: `st.page_link(…, query_params=…)`."""
    return replace(selection, **changes).parameters()
