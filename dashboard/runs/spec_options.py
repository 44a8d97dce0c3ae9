"""What a form needs to know of each option of a run, read from the spec classes: kind of widget, help, default.

`engine.config` stays the only place where options exist; a new one appears in the form by itself. Imports no Streamlit.
"""

from __future__ import annotations

import types
import typing
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Kind = Literal["switch", "choice", "choices", "whole", "number", "text", "numbers", "texts", "section", "sections"]


@dataclass(frozen=True)
class Option:
    """One field of a spec class."""

    name: str
    kind: Kind
    help: str
    default: Any
    """As plain data (lists, not tuples); None where there is none."""
    required: bool
    optional: bool
    """Whether it may be left out or null."""
    choices: tuple[str, ...] = ()
    model: type[BaseModel] | None = None
    """Of a section."""

    @property
    def label(self) -> str:
        return self.name.replace("_", " ").capitalize()


def options(model: type[BaseModel]) -> list[Option]:
    """The options of a spec class, in the order in which it lists them."""
    return [_option(name, field) for name, field in model.model_fields.items()]


def _option(name: str, field: FieldInfo) -> Option:
    annotation, optional = _without_none(field.annotation)
    kind, choices, model = _kind(annotation)
    default = None if field.default is PydanticUndefined else field.default
    if isinstance(default, BaseModel):
        default = None  # a section's defaults are those of its own options
    return Option(
        name=name,
        kind=kind,
        help=_help(field, model),
        default=list(default) if isinstance(default, tuple) else default,
        required=field.is_required(),
        optional=optional,
        choices=choices,
        model=model,
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) in (typing.Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not types.NoneType]
        return rest[0], True
    return annotation, False


def _kind(annotation: Any) -> tuple[Kind, tuple[str, ...], type[BaseModel] | None]:
    if get_origin(annotation) is typing.Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) is Literal:
        return "choice", tuple(map(str, get_args(annotation))), None
    if get_origin(annotation) is tuple:
        kind, choices, model = _kind(get_args(annotation)[0])
        many: dict[Kind, Kind] = {
            "choice": "choices", "whole": "numbers", "number": "numbers", "text": "texts", "section": "sections",
        }  # fmt: skip
        return many[kind], choices, model
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section", (), annotation
    plain: dict[Any, Kind] = {bool: "switch", int: "whole", float: "number", str: "text"}
    return plain[annotation], (), None


def _help(field: FieldInfo, model: type[BaseModel] | None) -> str:
    """The description, then the range: `folds of the grouped cross-validation; at least 2`."""
    words = [field.description or (model.__doc__ or "" if model else "")]
    for limit in field.metadata:
        match limit:
            case annotated_types.Ge():
                words.append(f"at least {limit.ge}")
            case annotated_types.Gt():
                words.append(f"above {limit.gt}")
            case annotated_types.Le():
                words.append(f"at most {limit.le}")
            case annotated_types.Lt():
                words.append(f"below {limit.lt}")
    text = "; ".join(w.strip() for w in words if w and w.strip())
    return text[:1].upper() + text[1:] if text.partition(" ")[0].rstrip(",;").isalpha() else text
