"""A slice: which examples are looked at, as a value that fits into a URL.

Text form: terms joined by `;`, each `key:value` with both sides percent-encoded, such as
`name:Loud%20pleas;text:Rome;meta_topic:history|science;explanation:-1.50..0.25`.
A range is inclusive, in nats, and either end may be left open.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import numpy as np

from dashboard import lasso as lassos

if TYPE_CHECKING:
    import pandas as pd

RANGES = (
    "explanation", "effect_target", "effect_current", "f_target", "f_current", "f_edited_target", "f_edited_current",
    "error",
)  # fmt: skip
"""Columns of `data.examples_page` that a range or a lasso may be laid on."""

Range = tuple[float | None, float | None]


class SliceError(ValueError):
    """A slice that can't be read, or does not fit the run; one line."""


@dataclass(frozen=True)
class Slice:
    """Conditions that all hold; an empty slice is every example."""

    name: str = ""
    text: str = ""
    """Stands in x or x', upper and lower case alike."""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Column (`meta_…`, `group`, `cue`, `entity`) → the values to keep."""
    ranges: Mapping[str, Range] = field(default_factory=lambda: MappingProxyType({}))
    lasso: lassos.Lasso | None = None
    """A region drawn on a scatter."""

    def __bool__(self) -> bool:
        return bool(self.text or self.values or self.ranges or self.lasso)

    def __str__(self) -> str:
        terms = [("name", quote(self.name, safe=" "))] if self.name else []
        terms += [("text", quote(self.text, safe=" "))] if self.text else []
        terms += [(c, "|".join(quote(v, safe=" ") for v in vs)) for c, vs in sorted(self.values.items())]
        terms += [(c, f"{_number(low)}..{_number(high)}") for c, (low, high) in sorted(self.ranges.items())]
        terms += [("lasso", str(self.lasso))] if self.lasso else []
        return ";".join(f"{quote(key, safe='')}:{value}" for key, value in terms)

    def where(self) -> tuple[str, list]:
        """SQL over the columns of `data.examples_page`, and its parameters; "TRUE" for an empty slice.

        Column names are quoted; that they exist is for `parse` to check.
        """
        conditions = ["TRUE"]
        parameters: list[str | float] = []
        if self.text:
            conditions.append("(contains(lower(prompt), lower(?)) OR contains(lower(edited), lower(?)))")
            parameters += [self.text, self.text]
        for column, kept in self.values.items():
            marks = ", ".join("?" * len(kept))
            conditions.append(f"{quoted(column)} IN ({marks})")
            parameters += kept
        for column, ends in self.ranges.items():
            for end, sign in zip(ends, (">=", "<="), strict=True):
                if end is not None:
                    conditions.append(f"{quoted(column)} {sign} ?")
                    parameters.append(end)
        if self.lasso:
            inside, numbers = self.lasso.where()
            conditions.append(inside)
            parameters += numbers
        return " AND ".join(conditions), parameters

    def mask(self, rows: pd.DataFrame) -> np.ndarray:
        """[n] bool: the rows of a frame that fit. A search for text needs the columns `prompt` and `edited`."""
        keep = np.ones(len(rows), bool)
        if self.text:
            found = [rows[c].str.contains(self.text, case=False, regex=False) for c in ("prompt", "edited")]
            keep &= (found[0] | found[1]).to_numpy(bool)
        for column, kept in self.values.items():
            keep &= rows[column].isin(kept).to_numpy()
        for column, (low, high) in self.ranges.items():
            values = rows[column].to_numpy(np.float64)
            keep &= np.isfinite(values) & (values >= (-np.inf if low is None else low))
            keep &= ~(values > (np.inf if high is None else high))
        if self.lasso:
            keep &= self.lasso.mask(*(rows[c].to_numpy(np.float64) for c in (self.lasso.x, self.lasso.y)))
        return keep


def quoted(column: str) -> str:
    """A column's name as an SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _range(text: str, column: str) -> Range:
    low, dots, high = text.partition("..")
    try:
        ends = tuple(float(end) if end else None for end in (low, high))
    except ValueError:
        dots = ""
    if not dots or any(end is not None and not math.isfinite(end) for end in ends):
        raise SliceError(f"slice: {column}: {text!r} is no range such as -1.5..0.25")
    return ends[0], ends[1]


def parse(text: str, columns: Collection[str]) -> Slice:
    """Read the text form. `columns`: those a value may be asked of. Raises SliceError."""
    name, search, values, ranges, lasso = "", "", {}, {}, None
    for term in filter(None, text.split(";")):
        key, colon, value = term.partition(":")
        key = unquote(key)
        if not colon:
            raise SliceError(f"slice: {term!r} is not key:value")
        if key == "name":
            name = unquote(value)[:80]
        elif key == "text":
            search = unquote(value)
        elif key == "lasso":
            try:
                lasso = lassos.parse(unquote(value), RANGES)
            except ValueError as error:
                raise SliceError(f"slice: {error}") from None
        elif key in RANGES:
            ranges[key] = _range(value, key)
        elif key in columns:
            values[key] = tuple(unquote(v) for v in value.split("|"))
        else:
            raise SliceError(f"slice: this run has no column {key!r}")
    return Slice(name, search, MappingProxyType(values), MappingProxyType(ranges), lasso)
