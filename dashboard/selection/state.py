"""The one selection, bound to the URL.

The URL is the truth: every page reads its query parameters, checks each value against the run on the
server, and writes back what holds. What a page does not show is remembered for the session, so that
it is still there on the next page, but has no hand in this one: its link would not carry it.
(Streamlit's own `bind="query-params"` drops a parameter as soon as its widget is not on the page, and
refuses other writes to it.)

    selection = sidebar("run", "checkpoint", "explainer", "regime", "split")
    if selection is None:  # no runs, or an unreadable one: that has been said on the page
        st.stop()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import streamlit as st

from dashboard.reading import data
from dashboard.reading.example_rows import SORTS
from dashboard.reading.slices import Slice, SliceError, parse
from dashboard.text import markdown_escaped, shown
from engine.run.store import RunError

NAMES = (
    "run", "second", "checkpoint", "condition", "explainer", "regime", "layer", "noise", "split", "edit", "slice",
    "sort", "example", "hash",
)  # fmt: skip
"""Query parameters, in the order in which they are resolved."""

OF_ONE_RUN = ("example", "slice", "hash", "layer", "condition")
"""What has no meaning in another run."""

LABELS = {
    "run": ("Run", "A folder with measurements of one target and its current checkpoints."),
    "second": ("Second run", "The run to compare with."),
    "checkpoint": ("Current checkpoint", "The model being explained, at a step of its post-training."),
    "condition": (
        "Condition",
        "What else was varied in training, as the run names it: an explainer trained beside the drifting model, say. "
        "None: explainers trained by themselves.",
    ),
    "explainer": ("Explainer", "What predicts the effect: a probe on hidden states, or the model's own words."),
    "regime": (
        "Regime",
        "Frozen: trained once at the target. Online: goes on training on the same fixed targets. "
        "Refit: trained anew at each checkpoint, on the same fixed targets.",
    ),
    "layer": ("Layer", "0: embeddings; k: after block k. Chosen: picked by cross-validation at the target."),
    "noise": ("Label noise", "How much of the training targets was spoilt, and how."),
    "split": (
        "Split",
        "test_heldout: groups that the explainer never saw. test_iid: drawn like its training data. "
        "validation: what settings were chosen on.",
    ),
    "edit": ("Kind of edit", "What was changed in the prompt to get the counterfactual one."),
    "sort": ("Order", "Which examples come first."),
}


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
    """Of the run's content, as a permalink carried it."""
    condition: str | None = None
    """What else was varied in the explainer's training; None: nothing."""

    @property
    def path(self) -> Path:
        return self.run.path

    @property
    def setting(self) -> data.Setting:
        return data.Setting(
            self.checkpoint, self.explainer, self.regime, self.noise_kind, self.noise, self.condition
        )  # fmt: skip

    @property
    def regimes(self) -> tuple[str, ...]:
        """Of the explainer under the condition."""
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


# What is left is Streamlit: reading the URL, drawing the widgets, writing the URL


def _memory() -> dict[str, str]:
    return st.session_state.setdefault("selection", {})


def update(**changes: object) -> None:
    """Change parts of the selection from a callback or a page; None forgets one. The next rerun shows it."""
    for name, value in changes.items():
        if value is None or value == "":
            _memory().pop(name, None)
            if name in st.query_params:
                del st.query_params[name]
        else:
            _memory()[name] = st.query_params[name] = str(value)
    # Values that we wrote ourselves are no news, and never complained about.
    st.session_state["selection_written"] = dict(st.query_params.to_dict())


def choose_run(key: str) -> None:
    """Look at another run from here on, on every page."""
    update(run=key, **dict.fromkeys(OF_ONE_RUN))


def _from_widget(name: str) -> None:
    value = st.session_state[f"select_{name}"]
    if name == "run":
        choose_run(value.key)
        return
    update(**{name: noise_text(*value) if name == "noise" else getattr(value, "key", value)})
    if name == "condition":  # it has explainers of its own
        update(explainer=None, regime=None)


def sidebar(*needs: str) -> Selection | None:
    """Read the selection, draw the widgets of what the page needs into the sidebar, and keep the URL in step.

    needs: names among `LABELS`; `run` always stands first. "slice", "example" and "hash" have no widget here but
    stay in the URL of a page that names them. What is not among them is as in a fresh window, whatever another page
    chose. Returns None, and says why on the page, where there is nothing to show.
    """
    runs = data.runs()
    if not runs:
        no_runs()
        return None
    url = {name: st.query_params[name] for name in NAMES if name in st.query_params}
    written = st.session_state.get("selection_written", {})
    news = {name for name in url if url[name] != written.get(name)}
    if url.get("run") not in (None, _memory().get("run")):  # a link to another run
        for name in OF_ONE_RUN:
            _memory().pop(name, None)
    _memory().update(url)
    try:
        known, complaints = resolve(_memory(), runs, data.options)
        if known.options.varied and "explainer" in needs:
            at = needs.index("explainer")
            needs = (*needs[:at], "condition", *needs[at:])
        shown_here = {n: v for n, v in known.parameters().items() if n in ("run", *needs)}
        selection, _ = resolve(shown_here, runs, data.options)
    except RunError as error:
        _choose_run(runs)
        problem(str(error))
        return None
    for name in sorted(news & complaints.keys()):
        st.warning(f"The link does not fit: {markdown_escaped(complaints[name])}", icon=":material/link_off:")
    st.session_state["selection"] = known.parameters()
    wanted = {n: v for n, v in selection.parameters().items() if n in needs or n == "run"}
    if {n: v for n, v in st.query_params.to_dict().items() if n in NAMES} != wanted:
        foreign = {n: v for n, v in st.query_params.to_dict().items() if n not in NAMES}
        st.query_params.from_dict({**foreign, **wanted})
    st.session_state["selection_written"] = wanted
    with st.sidebar:
        _widgets(selection, runs, needs)
    _say_state(selection.run)
    return selection


def _widgets(selection: Selection, runs: Sequence[data.RunEntry], needs: Sequence[str]) -> None:
    """One select box a need, in the order of `needs`; those with a single choice are disabled."""
    o = selection.options
    choices: dict[str, tuple[Sequence, Any]] = {
        "run": (runs, selection.run),
        "second": ([None, *(r for r in runs if r.key != selection.run.key)], selection.second),
        "checkpoint": (o.checkpoints, selection.checkpoint),
        "condition": ([*([None] if o.explainers else []), *o.varied], selection.condition),
        "explainer": (tuple(o.regimes_of(selection.condition)), selection.explainer),
        "regime": (selection.regimes, selection.regime),
        "layer": ([None, *o.layers], selection.layer),
        "noise": (o.noises or [("none", 0.0)], (selection.noise_kind, selection.noise)),
        "split": (o.splits, selection.split),
        "edit": ([None, *o.edits], selection.edit),
        "sort": (tuple(SORTS), selection.sort),
    }
    for name in dict.fromkeys(("run", *needs)):
        if name in choices:
            _select(name, *choices[name], partial(_option_text, name, steps=o.steps))


def _select(name: str, options: Sequence, value: Any, formatted: Callable[[Any], str]) -> None:
    label, help_line = LABELS[name]
    # The URL's value goes in before the widget is made; a widget's change goes out through `_from_widget`.
    # An empty text stands for None, which a select box takes for "nothing chosen yet".
    st.session_state[f"select_{name}"] = "" if value is None else value
    st.selectbox(
        label,
        ["" if option is None else option for option in options],
        key=f"select_{name}",
        format_func=formatted,
        help=help_line,
        on_change=_from_widget,
        args=(name,),
        disabled=len(options) < 2,
    )


def _option_text(name: str, value: Any, steps: Mapping[str, int] = MappingProxyType({})) -> str:
    if value == "":
        return {"layer": "chosen", "edit": "all kinds", "second": "none", "condition": "none"}.get(name, "–")
    if isinstance(value, data.RunEntry):
        return shown(value.key) + ("" if value.state == "complete" else f" ({value.state})")
    if name == "checkpoint":
        return f"{value} · step {steps.get(value, 0)}"
    if name == "noise":
        return "none" if value[0] == "none" else f"{value[0]} {value[1]:.0%}"
    if name == "sort":
        return SORTS[value][0]
    return shown(str(value))


def _choose_run(runs: Sequence[data.RunEntry]) -> None:
    by_key = {entry.key: entry for entry in runs}
    with st.sidebar:
        _select("run", runs, by_key.get(_memory().get("run", ""), runs[0]), partial(_option_text, "run"))


def problem(message: str) -> None:
    """An explained error: one line of plain text, escaped, and where to look further."""
    st.error(markdown_escaped(message), icon=":material/error:")
    st.caption("The page Runs lists every run folder with its state, and verifies it on demand.")


def no_runs() -> None:
    """The empty state."""
    st.subheader("No runs yet")
    st.write("There is no run in " + ", ".join(markdown_escaped(d) for d in data.directories()) + ". Make one with")
    st.code("coupling demo          # a small fresh run, in two minutes\ncoupling run SPEC.yaml", language="bash")


def _say_state(run: data.RunEntry) -> None:
    lines = {
        "running": "This run is still being measured: what is shown is what is there so far.",
        "interrupted": "This run was interrupted. The same command goes on where it stopped.",
        "failed": f"This run failed: {run.problem}",
    }
    if run.state in lines:
        st.info(markdown_escaped(lines[run.state]), icon=":material/hourglass_empty:")


def with_changes(selection: Selection, **changes: Any) -> dict[str, str]:
    """Query parameters of a link to the selection with changes: `st.page_link(…, query_params=…)`."""
    return replace(selection, **changes).parameters()
