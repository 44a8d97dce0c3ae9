"""A region drawn freely on a scatter, as a value: few corners, fit for a URL and for SQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_CORNERS = 32
"""What a drawn line is simplified to; membership is decided by the simplified region, everywhere alike."""


@dataclass(frozen=True)
class Lasso:
    """A polygon over two columns, in their units (nats); inside by the even-odd rule."""

    x: str
    y: str
    corners: tuple[tuple[float, float], ...]

    @staticmethod
    def drawn(x: str, y: str, xs: Sequence[float], ys: Sequence[float]) -> Lasso:
        """From a drawn line: rounded to four digits and simplified. Raises ValueError below three corners."""
        points = [(float(f"{a:.4g}"), float(f"{b:.4g}")) for a, b in zip(xs, ys, strict=True)]
        points = [p for i, p in enumerate(points) if p != points[i - 1]]
        if len(points) < 3 or not np.isfinite(points).all():
            raise ValueError("a lasso needs three corners or more")
        return Lasso(x, y, tuple(_simplified(points)))

    def mask(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """[n] bool: which points lie inside."""
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


def parse(text: str, columns: Sequence[str]) -> Lasso:
    """Read `str(lasso)`; ValueError where it is none, or names another column than `columns`."""
    x, y, *numbers = [*text.split(","), ""] if "," not in text else text.split(",")
    if x not in columns or y not in columns or len(numbers) % 2 or len(numbers) > 8 * MAX_CORNERS:
        raise ValueError(f"{text[:60]!r} is no lasso")
    values = [float(n) for n in numbers]
    return Lasso.drawn(x, y, values[::2], values[1::2])


def _simplified(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Drop the corner that spans the smallest triangle with its neighbours until few are left (Visvalingam)."""
    points = list(points)
    while len(points) > MAX_CORNERS:
        p = np.asarray(points)
        before, after = np.roll(p, 1, axis=0) - p, np.roll(p, -1, axis=0) - p
        areas = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
        points.pop(int(areas.argmin()))
    return points
