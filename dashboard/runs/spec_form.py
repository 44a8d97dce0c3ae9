"""The form of a new run: widgets for the options that most runs set, made from the fields of the spec classes.

The draft is YAML text in the session. A widget takes its value from the draft before it is drawn, and writes to it
when it is changed, so the form and the text never disagree. All other options are set in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from dashboard.runs import spec_draft
from dashboard.runs.spec_draft import Data, Place
from dashboard.text import markdown_escaped, shown
from engine.config import RunSpec, SpecError
from engine.config.model import switch
from engine.spec_files import parse_yaml
from engine.tasks import FACTORS

LARGEST = 2**53 - 1
"""The largest whole number that a browser can hold."""
LABELS: dict[Place, str] = {
    ("task", "name"): "Task",
    ("task", "path"): "Data file",
    ("explainers", "kinds"): "Explainers",
    ("noise", "kinds"): "Label noise",
    ("noise", "levels"): "Noise levels",
    ("chat", "mode"): "Chat template",
    ("chat", "system"): "System text",
}


def form(data: Data) -> None:
    """Name, task, checkpoints, chat template, explainers and label noise of the draft, whose data is given."""
    own = spec_draft.get(data, ("task", "name")) == "from_file" or spec_draft.get(data, ("task", "path"))
    _row(data, ("name",), ("task", "name"), *([("task", "path")] if own else []), ("task", "edits"))
    _checkpoints(data)
    if not isinstance(data.get("chat", {}), dict):  # `chat: on` is short for its mode
        data = data | {"chat": {"mode": switch(data["chat"])}}
    _row(data, ("chat", "mode"), ("chat", "system"))
    _row(data, ("explainers", "kinds"), ("explainers", "regimes"), ("noise", "kinds"), ("noise", "levels"))


def _row(data: Data, *places: Place) -> None:
    for column, place in zip(st.columns(len(places)), places, strict=True):
        with column:
            field(data, place)


def _checkpoints(data: Data) -> None:
    st.subheader("Checkpoints", anchor=False, help="Explainers are trained at the first one. The later ones follow.")
    found = spec_draft.get(data, ("checkpoints",))
    found = found if isinstance(found, list) else []
    for i in range(len(found)):
        *columns, last = st.columns([6, 9, 5, 3], vertical_alignment="bottom")
        for column, key in zip(columns, ("name", "path", "step"), strict=True):
            with column:
                field(data, ("checkpoints", i, key))
        rest = found[:i] + found[i + 1 :]
        with last:
            st.button(
                f"Remove {i + 1}", key=f"remove.{i}", on_click=_put, args=(("checkpoints",), rest), disabled=not rest
            )
    more = [*found, {}]
    st.button("Add a checkpoint", icon=":material/add:", key="add", on_click=_put, args=(("checkpoints",), more))


def field(data: Data, place: Place) -> None:
    """The widget of one option."""
    info, key = field_at(place), ".".join(map(str, ("spec", *place)))
    given, default = spec_draft.get(data, place), None if info.is_required() else info.default
    value = default if given is None else given
    common: dict[str, Any] = {
        "label": LABELS.get(place) or _label(place),
        "key": key,
        "help": markdown_escaped(info.description),
        "on_change": lambda: _put(place, _read(st.session_state[key], default)),
    }
    choices = literals(info.annotation)
    if get_origin(info.annotation) is tuple:
        values = _texts(value) if isinstance(value, (list, tuple)) else []
        offered = choices or _texts(default or ()) or _edits(data)
        st.session_state[key] = values
        empty = "All" if place == ("task", "edits") else None
        st.multiselect(options=_with(offered, values), accept_new_options=not choices, placeholder=empty, **common)
    elif choices:
        values = [] if value is None else [shown(value)]
        st.session_state[key] = values[0] if values else None
        st.selectbox(options=_with(choices, values), **common)
    elif info.annotation is int:
        fits = isinstance(value, int) and abs(value) <= LARGEST
        st.session_state[key] = value if fits else None
        st.number_input(value=None, step=1, **common)
    else:
        st.session_state[key] = "" if value is None else str(value)
        st.text_input(placeholder="needed" if info.is_required() else None, **common)


def _label(place: Place) -> str:
    """`Seed`; `Path of 2` for a field of the second checkpoint, so that no two fields have one name."""
    name = str(place[-1]).capitalize()
    numbers = [at for at in place if isinstance(at, int)]
    return f"{name} of {numbers[0] + 1}" if numbers else name


def field_at(place: Place) -> FieldInfo:
    """The pydantic field of an option of RunSpec."""
    model: type[BaseModel] = RunSpec
    for key in place:
        if isinstance(key, str):
            info = model.model_fields[key]
            inside = (info.annotation, *get_args(info.annotation))
            model = next((m for m in inside if isinstance(m, type) and issubclass(m, BaseModel)), model)
    return info


def literals(annotation: Any) -> tuple[str, ...]:
    """The values that a Literal allows, also inside a tuple; none for other types."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(value for inner in get_args(annotation) for value in literals(inner))


def _texts(values: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(f"{v:g}" if isinstance(v, float) else shown(v) for v in values))


def _read(value: Any, default: Any) -> Any:
    """A widget's value as the draft holds it; None for the default."""
    if isinstance(value, str):
        value = value.strip()
    if isinstance(value, list):
        default = list(default)
        if default and isinstance(default[0], float):
            value = [_number(piece) for piece in value]
    return None if value in (default, "") else value


def _number(text: str) -> float | str:
    with suppress(ValueError):
        return float(text)
    return text


def _put(place: Place, value: Any) -> None:
    with suppress(SpecError):  # the text was made unreadable in the same moment: it stays as it was typed
        data = parse_yaml(st.session_state["draft"])
        spec_draft.put(data, place, value)
        st.session_state["draft"] = spec_draft.to_yaml(data)


def _with(choices: Sequence[str], values: Sequence[str]) -> list[str]:
    """The choices, and values that are none of them: they are shown, and reported as problems."""
    return list(dict.fromkeys([*choices, *values]))


def _edits(data: Data) -> list[str]:
    """Kinds of edit that the draft's task offers."""
    factors = FACTORS.get(str(spec_draft.get(data, ("task", "name"))))
    return list(factors.edits) if factors else []
