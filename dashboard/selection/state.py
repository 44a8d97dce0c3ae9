"""The one selection, bound to the URL.

The URL decides. Each page reads its query parameters, checks every value against the run and writes the valid ones
back. The session remembers the parameters that a page does not use, for the next page; they do not affect this page,
because its link would not carry them. (Streamlit's own `bind="query-params"` drops a parameter as soon as its widget
is not on the page, and refuses other writes to it.)

    selection = sidebar("run", "checkpoint", "explainer", "regime", "split")
    if selection is None:  # no runs, or an unreadable one: that has been said on the page
        st.stop()
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import streamlit as st

from dashboard.reading import data
from dashboard.reading.example_rows import SORTS
from dashboard.selection.resolve import Selection, noise_text, resolve
from dashboard.text import markdown_escaped, shown
from engine.runs.store import RunError

NAMES = (
    "run", "second", "checkpoint", "condition", "explainer", "regime", "layer", "noise", "split", "edit", "slice",
    "sort", "example", "hash",
)  # fmt: skip
"""Query parameters, in the order in which they are resolved."""

OF_ONE_RUN = ("example", "slice", "hash", "layer", "condition")
"""Parameters that mean nothing in another run."""

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


def edit_caption(selection: Selection, edit: str) -> None:
    """Name the kind of edit that the page shows, where the sidebar leaves the choice to the page."""
    if selection.edit is None and len(selection.options.edits) > 1:
        st.caption(f"Kind of edit: {markdown_escaped(edit)}, of the chosen setting. The sidebar has the others.")


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
