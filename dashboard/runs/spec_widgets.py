"""The form of a new run, as Streamlit widgets: one for every option of the spec classes, its problems beneath it.

The draft (`spec_form.Data`) lies in the session. A widget gets its value from the draft before it is drawn, and writes
to it when it is changed, so that form, YAML and templates never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import streamlit as st
from pydantic import BaseModel

from dashboard.runs import spec_form
from dashboard.runs.spec_form import Data, Place
from dashboard.runs.spec_options import Option, options
from dashboard.text import markdown_escaped, shown
from engine.config import CheckpointSpec, RunSpec
from engine.tasks import FACTORS

Problems = dict[Place, list[str]]
LARGEST = 2**53 - 1
"""The largest whole number that a browser can hold."""
COLUMNS = 3

FIRST = {"explainers": ("kinds", "regimes")}
"""Options that stand open on the form; the rest of their section lies in an expander."""
TITLES: dict[Place, str] = {
    ("explainers",): "Explainers, more",
    ("hidden",): "Hidden states",
    ("noise",): "Label noise",
    ("metrics",): "Intervals and verdicts",
    ("target",): "Labels from another model",
    ("other_model",): "Control model",
    ("post_training",): "Post-training",
    ("post_training", "concurrent"): "An explainer trained in the same loop",
}
SWITCHES: dict[Place, str] = {
    ("target",): "Take the fixed labels from a model other than the first checkpoint, such as another family's.",
    ("other_model",): "Take the control's hidden states from this model. Off: from the first checkpoint, untrained.",
    ("post_training",): "Make the later checkpoints in this run, from dialogues. Mark them as trained, above.",
    ("post_training", "concurrent"): "Train an explainer on the fixed targets while the base model is trained.",
}
MACHINE = ("device", "dtype", "batch_size", "seed")


def draft() -> Data:
    return st.session_state.setdefault("draft", spec_form.empty())


def replace_draft(data: Data) -> None:
    st.session_state["draft"] = data


def form(problems: Problems) -> None:
    """All options of a run: the common ones first, the rest in expanders."""
    run = {option.name: option for option in options(RunSpec)}
    left, right = st.columns([1, 2])
    with left:
        field(run["name"], ("name",), problems)
    with right:
        field(run["note"], ("note",), problems)
    _task(run["task"], problems)
    _checkpoints(problems)
    st.subheader("Explainers", anchor=False)
    _options([o for o in _of(run["explainers"]) if o.name in FIRST["explainers"]], ("explainers",), problems, columns=2)
    for name in ("hidden", "explainers", "noise", "metrics", "target", "other_model", "post_training"):
        _section(run[name], (name,), problems)
    with _expander("Machine and seed", [(n,) for n in MACHINE], problems):
        _options([run[n] for n in MACHINE], (), problems)


# Parts of the form


def _task(option: Option, problems: Problems) -> None:
    st.subheader("Task", anchor=False)
    parts = {o.name: o for o in _of(option)}
    data = draft()
    name, path = (spec_form.get(data, ("task", key)) for key in ("name", "path"))
    of_file = name == "from_file" or path
    left, middle, right = st.columns([1, 2, 1])
    with left:
        field(parts["name"], ("task", "name"), problems, label="Task")
    with middle:
        field(parts["path" if of_file else "edits"], ("task", "path" if of_file else "edits"), problems)
    with right:
        field(parts["seed"], ("task", "seed"), problems)
    if of_file:
        field(parts["edits"], ("task", "edits"), problems)
    else:
        _options(_of(parts["prompts"]), ("task", "prompts"), problems, columns=4, prefix="Prompts: ")
    _complain(problems, ("task",), exactly=True)


def _checkpoints(problems: Problems) -> None:
    st.subheader("Checkpoints", anchor=False, help="The first is where the explainers are trained; then the later ones")
    found = _list(("checkpoints",))
    for i in range(len(found)):
        with st.container(border=True):
            _model(("checkpoints", i), problems, removable=len(found) > 1)
    _complain(problems, ("checkpoints",), exactly=True)
    st.button("Add a checkpoint", icon=":material/add:", key="add_checkpoint", on_click=_add_checkpoint)


def _model(place: Place, problems: Problems, *, removable: bool = False) -> None:
    """A model's name, path and step in a row; what is seldom needed in a popover."""
    parts = {o.name: o for o in options(CheckpointSpec)}
    name, path, step, more = st.columns([6, 9, 5, 3], vertical_alignment="bottom")
    for column, key in ((name, "name"), (path, "path"), (step, "step")):
        with column:
            field(parts.pop(key), (*place, key), {})  # a complaint in a cell would push it out of the row
    with more.popover("More", key=f"more{_key(place)}", width="stretch"):
        for key, option in parts.items():
            field(option, (*place, key), {})
        if removable:
            st.button(
                "Remove this checkpoint", icon=":material/remove:", key=f"remove{_key(place)}",
                on_click=_remove_checkpoint, args=(place[-1],),
            )  # fmt: skip
    inside = {at[len(place) :]: lines for at, lines in problems.items() if at[: len(place)] == place}
    _complain({(): [f"{spec_form.named(at) or 'it'}: {line}" for at, lines in inside.items() for line in lines]}, ())


def _section(option: Option, place: Place, problems: Problems) -> None:
    assert option.model is not None
    title = TITLES.get(place, option.label)
    with _expander(title, [place], problems, skip=FIRST.get(option.name, ())):
        if option.optional and not _switched(option, place):
            return
        if option.model is CheckpointSpec:
            _model(place, problems)
        else:
            if option.help and not option.optional:
                st.caption(markdown_escaped(option.help))
            rest = [o for o in _of(option) if o.name not in FIRST.get(option.name, ())]
            _options([o for o in rest if o.model is None], place, problems)
            for inner in rest:
                if inner.model is not None and _switched(inner, (*place, inner.name)):
                    _options(_of(inner), (*place, inner.name), problems)
        _complain(problems, place, exactly=True)


def _switched(option: Option, place: Place) -> bool:
    """A switch for a section that may be absent; whether it is on."""
    key = f"section{_key(place)}"
    st.session_state[key] = spec_form.get(draft(), place) is not None
    st.toggle(
        SWITCHES.get(place) or markdown_escaped(option.help), key=key,
        on_change=lambda: spec_form.put(draft(), place, {} if st.session_state[key] else None),
    )  # fmt: skip
    return st.session_state[key]


def _expander(title: str, places: Sequence[Place], problems: Problems, skip: Sequence[str] = ()) -> Any:
    inside = [
        at
        for at in problems
        if any(at[: len(p)] == p and at[len(p) : len(p) + 1] not in [(s,) for s in skip] for p in places)
    ]
    key = f"expander_{title}"
    return st.expander(title, key=key, icon=":material/error:" if inside else None)


def _options(
    found: Sequence[Option], place: Place, problems: Problems, columns: int = COLUMNS, prefix: str = ""
) -> None:
    cells = st.columns(columns)
    for at, option in enumerate(found):
        with cells[at % columns]:
            field(option, (*place, option.name), problems, prefix=prefix)


def _of(option: Option) -> list[Option]:
    assert isinstance(option.model, type) and issubclass(option.model, BaseModel)
    return options(option.model)


def _list(place: Place) -> list[Any]:
    value = spec_form.get(draft(), place)
    return value if isinstance(value, list) else []


def _add_checkpoint() -> None:
    spec_form.put(draft(), ("checkpoints",), [*_list(("checkpoints",)), {}])


def _remove_checkpoint(at: int) -> None:
    found = _list(("checkpoints",))
    spec_form.put(draft(), ("checkpoints",), found[:at] + found[at + 1 :])


# One widget


def field(option: Option, place: Place, problems: Problems, prefix: str = "", label: str = "") -> None:
    """The widget of one option, and beneath it what is wrong with its value."""
    key = f"spec{_key(place)}"
    value = spec_form.get(draft(), place)
    default = option.default if value is None else value
    label = label or prefix + (option.label.lower() if prefix else option.label)
    common: dict[str, Any] = {
        "key": key,
        "help": markdown_escaped(option.help) if option.help else None,
        "on_change": _changed,
        "args": (option, place, key),
    }
    match option.kind:
        case "switch":
            st.session_state[key] = default is True
            st.checkbox(label, **common)
        case "choice":
            st.session_state[key] = default if default is None else str(default)
            st.selectbox(label, _with(option.choices, [default]), **common)
        case "choices" | "texts":
            values = [shown(v) for v in default] if isinstance(default, list) else []
            st.session_state[key] = values
            free = option.kind == "texts"
            choices = _edits() if free else option.choices
            words = "All" if free else "Choose one or more"
            st.multiselect(label, _with(choices, values), accept_new_options=free, placeholder=words, **common)
        case "whole" | "number":
            st.session_state[key] = _number(default, option.kind == "whole")
            step, form = (1, "%d") if option.kind == "whole" else (_step(option.default), "%g")
            empty = "found by trial" if option.name == "batch_size" else None
            st.number_input(label, value=None, step=step, format=form, placeholder=empty, **common)
        case "numbers":
            values = default if isinstance(default, list) else []
            st.session_state[key] = ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values)
            st.text_input(label, **common)
        case _:
            st.session_state[key] = "" if default is None else str(default)
            st.text_input(label, placeholder="needed" if option.required else None, **common)
    _complain(problems, place)


def _changed(option: Option, place: Place, key: str) -> None:
    value = st.session_state[key]
    if option.kind == "numbers":
        value = [_parsed(piece) for piece in value.replace(";", ",").split(",") if piece.strip()]
    if option.kind == "text":
        value = value.strip()
    same = value in (option.default, "", None) and not (option.required and option.kind != "text")
    spec_form.put(draft(), place, None if same else value)


def _parsed(piece: str) -> int | float | str:
    """A number where it is one; else the text, for the validation to complain of."""
    for kind in (int, float):
        try:
            return kind(piece.strip())
        except ValueError:
            continue
    return piece.strip()


def _with(choices: Sequence[str], values: Sequence[Any]) -> list[str]:
    """The choices, and values that are none of them: they are shown, and complained of."""
    return list(dict.fromkeys([*choices, *(str(v) for v in values if v is not None)]))


def _number(value: Any, whole: bool) -> int | float | None:
    """What a number widget can show."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    if abs(value) > LARGEST or (whole and value != int(value)):
        return None
    return int(value) if whole else float(value)


def _step(default: Any) -> float:
    return 10.0 ** math.floor(math.log10(default)) if isinstance(default, float) and default > 0 else 0.1


def _edits() -> tuple[str, ...]:
    """Kinds of edit that the draft's task offers."""
    factors = FACTORS.get(str(spec_form.get(draft(), ("task", "name"))))
    return tuple(factors.edits) if factors else ()


def _key(place: Place) -> str:
    return "." + ".".join(map(str, place))


def _complain(problems: Problems, place: Place, exactly: bool = False) -> None:
    lines = problems.get(place, []) if exactly else spec_form.at_or_below(problems, place)
    for line in lines:
        st.markdown(f":red[:material/error: {markdown_escaped(line)}]")
