"""A slice: a subset of the examples, as a value that fits into a URL.

Text form: terms joined by `;`, each `key:value` with both sides percent-encoded. For instance
`name:Loud%20pleas;text:Rome;meta_topic:history|science;explanation:-1.50..0.25`.
A range is inclusive, in nats, and may be open at either end.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd

_OF_MODELS = "effect_target effect_current f_target f_current f_edited_target f_edited_current"
RANGES = ("explanation", *_OF_MODELS.split(), "error")
"""Columns that a range or a lasso may be laid on."""

SIGNS = {
    "both": "both: effects and explanation agree in sign",
    "current": "nearer the current model: its sign only",
    "target": "nearer the target: its sign only",
    "neither": "neither: the explanation has the other sign",
}
"""Which model's effect has the sign of the explanation: key → label. In "current" and "target" the effects differ."""

OF_SIGNS = ("explanation", "effect_current", "effect_target")
"""Columns that decide the agreement in sign."""

Range = tuple[float | None, float | None]

MAX_CORNERS = 32
"""A drawn line is simplified to this many corners. The simplified polygon decides which points are inside."""


class SliceError(ValueError):
    """A slice that can't be read or does not fit the run; one line."""


@dataclass(frozen=True)
class Lasso:
    """A polygon over two columns, in their units (nats). The even-odd rule decides what is inside."""

    x: str
    y: str
    corners: tuple[tuple[float, float], ...]

    @staticmethod
    def drawn(x: str, y: str, xs: Sequence[float], ys: Sequence[float]) -> Lasso:
        """A drawn line, rounded to four digits and simplified. Raises ValueError for fewer than three corners."""
        points = [(float(f"{a:.4g}"), float(f"{b:.4g}")) for a, b in zip(xs, ys, strict=True)]
        points = [p for i, p in enumerate(points) if p != points[i - 1]]
        if len(points) < 3 or not np.isfinite(points).all():
            raise ValueError("a lasso needs three corners or more")
        return Lasso(x, y, tuple(_simplified(points)))

    def mask(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[n] bool: which points are inside."""
        inside = np.zeros(len(x), bool)
        for (x1, y1), (x2, y2) in zip(self.corners, (*self.corners[1:], self.corners[0]), strict=True):
            if y1 == y2:
                continue
            crosses = (y1 > y) != (y2 > y)
            inside ^= crosses & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
        return inside

    def __str__(self) -> str:
        numbers = ",".join(f"{v:g}" for corner in self.corners for v in corner)
        return f"{self.x},{self.y},{numbers}"


def _simplified(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Drop the corner whose triangle with its neighbors is smallest until `MAX_CORNERS` are left (Visvalingam)."""
    points = list(points)
    while len(points) > MAX_CORNERS:
        p = np.asarray(points)
        before, after = np.roll(p, 1, axis=0) - p, np.roll(p, -1, axis=0) - p
        areas = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
        points.pop(int(areas.argmin()))
    return points


@dataclass(frozen=True)
class Slice:
    """Conditions that must all hold; an empty slice is every example."""

    name: str = ""
    text: str = ""
    """Text that x or x' contains, ignoring case."""
    values: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Column (`meta_…`, `group`, `cue`, `entity`) → the values to keep."""
    ranges: Mapping[str, Range] = field(default_factory=lambda: MappingProxyType({}))
    lasso: Lasso | None = None
    """A region drawn on a scatter."""
    signs: tuple[str, ...] = ()
    """The keys of SIGNS to keep; empty: all."""

    def __bool__(self) -> bool:
        return bool(self.text or self.values or self.ranges or self.lasso or self.signs)

    def __str__(self) -> str:
        terms = [("name", quote(self.name, safe=" "))] if self.name else []
        terms += [("text", quote(self.text, safe=" "))] if self.text else []
        terms += [(c, "|".join(quote(v, safe=" ") for v in vs)) for c, vs in sorted(self.values.items())]
        terms += [(c, f"{_number(low)}..{_number(high)}") for c, (low, high) in sorted(self.ranges.items())]
        terms += [("lasso", str(self.lasso))] if self.lasso else []
        terms += [("signs", "|".join(self.signs))] if self.signs else []
        return ";".join(f"{quote(key, safe='')}:{value}" for key, value in terms)

    def mask(self, rows: pd.DataFrame) -> np.ndarray:
        """[n] bool: the rows of a frame that fit all conditions but the text (see `columns.containing`)."""
        keep = np.ones(len(rows), bool)
        for column, kept in self.values.items():
            keep &= rows[column].isin(kept).to_numpy()
        for column, (low, high) in self.ranges.items():
            values = rows[column].to_numpy(np.float64)
            keep &= np.isfinite(values) & (values >= (-np.inf if low is None else low))
            keep &= ~(values > (np.inf if high is None else high))
        if self.lasso:
            keep &= self.lasso.mask(*(rows[c].to_numpy(np.float64) for c in (self.lasso.x, self.lasso.y)))
        if self.signs:
            agreed = agreement_in_sign(*(rows[c].to_numpy() for c in OF_SIGNS))
            keep &= np.isin(agreed, [list(SIGNS).index(key) for key in self.signs])
        return keep


def agreement_in_sign(explanation: np.ndarray, current: np.ndarray, target: np.ndarray) -> np.ndarray:
    """[n] positions in SIGNS. Zero counts as positive; −1 without an explanation."""
    e, c, t = (np.asarray(a) >= 0 for a in (explanation, current, target))
    found = np.select([(e == c) & (e == t), (e == c), (e == t)], [0, 1, 2], 3)
    return np.where(np.isfinite(np.asarray(explanation, np.float64)), found, -1)


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


def _lasso(text: str) -> Lasso:
    """Read `str(lasso)`. Raises ValueError for other text, and for columns that are not in RANGES."""
    fields = text.split(",")
    if not set(fields[:2]) <= set(RANGES) or len(fields) % 2 or len(fields) > 8 * MAX_CORNERS:
        raise ValueError(f"{text[:60]!r} is no lasso")
    values = [float(number) for number in fields[2:]]
    return Lasso.drawn(fields[0], fields[1], values[::2], values[1::2])


def parse(text: str, columns: Collection[str]) -> Slice:
    """Read the text form. `columns`: those that may be filtered by value. Raises SliceError."""
    values: dict[str, tuple[str, ...]] = {}
    ranges: dict[str, Range] = {}
    rest: dict[str, Any] = {}
    for term in filter(None, text.split(";")):
        key, colon, value = term.partition(":")
        key = unquote(key)
        if not colon:
            raise SliceError(f"slice: {term!r} is not key:value")
        if key == "name":
            rest["name"] = unquote(value)[:80]
        elif key == "text":
            rest["text"] = unquote(value)
        elif key == "lasso":
            try:
                rest["lasso"] = _lasso(unquote(value))
            except ValueError as error:
                raise SliceError(f"slice: {error}") from None
        elif key == "signs":
            rest["signs"] = tuple(s for s in SIGNS if s in value.split("|"))
            if not rest["signs"]:
                raise SliceError(f"slice: signs are {', '.join(SIGNS)}, not {value[:60]!r}")
        elif key in RANGES:
            ranges[key] = _range(value, key)
        elif key in columns:
            values[key] = tuple(unquote(v) for v in value.split("|"))
        else:
            raise SliceError(f"slice: this run has no column {key!r}")
    return Slice(values=MappingProxyType(values), ranges=MappingProxyType(ranges), **rest)
