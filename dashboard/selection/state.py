"""The one selection, bound to the URL.

The URL decides. Each page reads its query parameters, checks every value against the run and writes the valid ones
back. The session remembers the parameters of other pages for links alone: they do not affect this page.
(Streamlit's own `bind="query-params"` drops a parameter when its widget leaves the page, and refuses other writes.)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, Concatenate, ParamSpec

import streamlit as st

from dashboard import PAGES
from dashboard.reading import data
from dashboard.reading.example_rows import SORTS
from dashboard.reading.tables import blamed
from dashboard.selection import remembered
from dashboard.selection.resolve import NAMES, Selection, noise_text, resolve
from dashboard.serving import access
from dashboard.text import markdown_escaped, shown
from engine.config import InputError
from engine.runs.store import RunError

P = ParamSpec("P")
POOLED = ("examples", "audit")
"""Pages that show all kinds of edit if none is selected; the others show that of the chosen setting, and name it."""
OF_ONE_RUN = ("example", "slice", "hash", "layer", "condition")
"""Parameters that mean nothing in another run."""

LABELS = {
    "run": ("Run", "A folder with measurements of one target and its current checkpoints."),
    "second": ("Second run", "The run to compare with."),
    "checkpoint": ("Current checkpoint", "The model being explained, at a step of its post-training."),
    "condition": (
        "Condition",
        "A further factor that the run varied in training, under its own name. None: no such.",
    ),
    "explainer": ("Explainer", "The predictor of the effect: a probe on hidden states, or the model's own words."),
    "regime": (
        "Regime",
        "The targets are fixed. Frozen: trained once, at the target. Online: goes on training at every checkpoint. "
        "Refit: trained anew at each checkpoint.",
    ),
    "layer": ("Layer", "0: embeddings; k: after block k. Chosen: picked by cross-validation at the target."),
    "noise": ("Label noise", "The kind of noise in the training targets, and its level."),
    "split": (
        "Split",
        "test_heldout: groups that the explainer never saw. test_iid: drawn like its training data. "
        "validation: the examples that settings were chosen on.",
    ),
    "edit": ("Kind of edit", "The change in the prompt that makes the counterfactual one."),
    "sort": ("Order", "The order of the examples."),
}


def update(**changes: object) -> None:
    """Change parts of the selection from a callback or a page; None forgets one. The next rerun shows it."""
    for name, value in changes.items():
        if value is None or value == "":
            remembered.selection().pop(name, None)
            st.query_params.pop(name, None)
        else:
            remembered.selection()[name] = st.query_params[name] = str(value)
    # `sidebar` complains about bad values in the URL only if they are not in here.
    st.session_state["selection_written"] = st.query_params.to_dict()


def choose_run(key: str | None) -> None:
    """Select another run, on every page; None: none yet."""
    update(run=key, **dict.fromkeys(OF_ONE_RUN))


def _from_widget(name: str, value: Any) -> None:
    if name == "run":
        if value is not None:
            choose_run(value.key)
        return
    update(**{name: noise_text(*value) if name == "noise" else getattr(value, "key", value)})
    if name == "condition":  # each condition has its own explainers
        update(explainer=None, regime=None)


def bound(
    widget: Callable[..., Any], *label: Any, key: str, value: Any, change: Callable[[Any], None], **look: Any
) -> Any:
    """Draw a widget that shows `value`, whatever it showed before; `change` gets the value that the reader sets.

    label: the widget's label, and its choices if it has some.
    """
    st.session_state[key] = value
    return widget(*label, key=key, on_change=lambda: change(st.session_state[key]), **look)


def with_selection(draw: Callable[[Selection], None], *needs: str) -> None:
    """Draw a page from its selection, with the widgets of `needs` in the sidebar; a RunError becomes a sentence."""
    selection = sidebar(*needs)
    if selection is not None:
        guarded(draw)(selection)


def guarded(draw: Callable[Concatenate[Selection, P], object]) -> Callable[Concatenate[Selection, P], None]:
    """The same drawing, in which a RunError, or an error that a damaged run explains, becomes a sentence. For pages,
    and for what runs on its own: errors in fragments and dialogs never reach the page."""

    @wraps(draw)
    def drawn(selection: Selection, *args: P.args, **named: P.kwargs) -> None:
        try:
            with blamed(selection.path):
                draw(selection, *args, **named)
        except RunError as error:
            problem(str(error))

    return drawn


def sidebar(*needs: str) -> Selection | None:
    """Read the selection, draw the widgets that the page needs into the sidebar, and update the URL.

    needs: names among `NAMES`; `run` is always the first. "slice", "example" and "hash" have no widget here but stay in
    the URL of a page that names them. A parameter that is not needed has its default value, whatever another page
    chose. Returns None, and says why on the page, where there is nothing to show.
    """
    runs = data.runs()
    if not runs:
        no_runs()
        return None
    given = st.query_params.to_dict()
    url = {name: value for name, value in given.items() if name in NAMES}
    written = st.session_state.get("selection_written", {})
    news = {name for name, value in url.items() if value != written.get(name)}
    memory = remembered.selection()
    if url.get("run") not in (None, memory.get("run")):  # a link to another run
        for name in OF_ONE_RUN:
            memory.pop(name, None)
    memory.update(url)
    url.setdefault("run", memory.get("run", ""))  # an address without a run is about the one that was looked at last
    by_key = {entry.key: entry for entry in runs}
    if gone := _gone(by_key, news):
        with st.sidebar:
            _select("run", runs, None, partial(_option_text, "run"))
        problem(f"The run {gone} is gone: it was deleted, renamed or moved. Choose another one in the sidebar.")
        return None
    try:
        known, complaints = resolve(memory, runs, data.options)
        if known.options.varied and "explainer" in needs:
            at = needs.index("explainer")
            needs = (*needs[:at], "condition", *needs[at:])
        used = {"run", *needs}
        valid = known.parameters()
        selection, _ = resolve({n: valid[n] for n in used & url.keys() & valid.keys()}, runs, data.options)
    except RunError as error:
        with st.sidebar:
            _select("run", runs, by_key.get(memory.get("run", ""), runs[0]), partial(_option_text, "run"))
        problem(str(error))
        return None
    for name in sorted(news & complaints.keys()):
        st.warning(f"The link does not fit: {markdown_escaped(complaints[name])}", icon=":material/link_off:")
    wanted = {name: value for name, value in selection.parameters().items() if name in used}
    for name in used - wanted.keys():
        valid.pop(name, None)
    memory.clear()
    memory.update(valid | wanted)
    if given != {n: v for n, v in given.items() if n not in NAMES} | wanted:
        st.query_params.from_dict({n: v for n, v in given.items() if n not in NAMES} | wanted)
    st.session_state["selection_written"] = wanted
    with st.sidebar:
        _widgets(selection, runs, needs)
    _say_state(selection.run)
    for why in selection.run.untestable:
        st.warning(f"Not testable: {markdown_escaped(why)}", icon=":material/warning:")
    offer_rescoring(selection.run)
    return selection


def _gone(by_key: Mapping[str, data.RunEntry], news: Collection[str]) -> str | None:
    """The run that was selected before and is not there any more. A link that names no run gets another one instead."""
    chosen = remembered.selection().get("run")
    here = chosen is None or chosen in by_key or any(entry.path.name == chosen for entry in by_key.values())
    return None if here or "run" in news else chosen


def _widgets(selection: Selection, runs: Sequence[data.RunEntry], needs: Sequence[str]) -> None:
    """One select box for each need, in the order of `needs`; those with a single choice are disabled."""
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
    pooled = st.session_state.get("page") in POOLED
    for name in dict.fromkeys(("run", *needs)):
        if name in choices:
            _select(name, *choices[name], partial(_option_text, name, steps=o.steps, pooled=pooled))


def _select(name: str, options: Sequence, value: Any, formatted: Callable[[Any], str]) -> None:
    label, help_line = LABELS[name]
    # An empty text stands for None, which a select box takes for "nothing chosen yet".
    if None in options:
        options, value = ["" if option is None else option for option in options], "" if value is None else value
    more = {"format_func": formatted, "help": help_line, "disabled": len(options) < 2 and value in options}
    bound(st.selectbox, label, options, key=f"select_{name}", value=value, change=partial(_from_widget, name), **more)


def _option_text(name: str, value: Any, steps: Mapping[str, int] = MappingProxyType({}), pooled: bool = True) -> str:
    if value == "":
        edit = "all kinds" if pooled else "of the chosen setting"
        return {"layer": "chosen", "edit": edit, "second": "none", "condition": "none"}.get(name, "–")
    if isinstance(value, data.RunEntry):
        return shown(value.key) + ("" if value.state == "complete" else f" ({value.state})")
    if name == "checkpoint":
        return f"{value} · step {steps.get(value, 0)}"
    if name == "noise":
        return "none" if value[0] == "none" else f"{value[0]} {value[1]:.0%}"
    if name == "sort":
        return SORTS[value][0]
    return shown(str(value))


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


def offer_rescoring(run: data.RunEntry) -> None:
    """For a run of an earlier version: a sentence, and a button that scores it anew."""
    if not run.outdated:
        return
    st.info(
        "An earlier version scored this run. What explanations know of the unseen answer is missing, and so are "
        "verdicts. Self, Orig and gap are as they were.",
        icon=":material/update:",
    )
    about = "Reads the stored explanations and behavior; no model is loaded. The old metrics stay in the run's folder."
    allowed = access.may("change")
    if not st.button("Score it anew", icon=":material/calculate:", key="rescore", help=about, disabled=not allowed):
        return
    from engine.rescore import rescore  # takes seconds to import

    bar = st.progress(0.0, "Scoring anew")
    try:
        access.require("change")
        rescore(run.path, lambda _, done, total: bar.progress(done / max(total, 1), "Scoring anew"))
    except InputError as error:
        problem(str(error))
    else:
        st.rerun()


def _say_state(run: data.RunEntry) -> None:
    lines = {
        "running": "This run is still being measured. The page shows the results so far.",
        "interrupted": "This run was interrupted. “Go on” on the page Runs continues where it stopped.",
        "failed": f"This run failed: {run.problem}",
    }
    if run.state in lines:
        st.info(markdown_escaped(lines[run.state]), icon=":material/hourglass_empty:")
        look = {"icon": ":material/folder_open:", "query_params": {"run": run.key}}
        st.page_link(PAGES / "runs.py", label="This run on the page Runs", **look)
