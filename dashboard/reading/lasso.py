"""A polygon drawn on a scatter, with few enough corners for a URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MAX_CORNERS = 32
"""A drawn line is simplified to this many corners. The simplified polygon decides which points are inside."""


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


def parse(text: str, columns: Sequence[str]) -> Lasso:
    """Read `str(lasso)`. Raises ValueError for other text, and for columns that are not in `columns`."""
    fields = text.split(",")
    if not set(fields[:2]) <= set(columns) or len(fields) % 2 or len(fields) > 8 * MAX_CORNERS:
        raise ValueError(f"{text[:60]!r} is no lasso")
    values = [float(number) for number in fields[2:]]
    return Lasso.drawn(fields[0], fields[1], values[::2], values[1::2])


def _simplified(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Drop the corner whose triangle with its neighbors is smallest until `MAX_CORNERS` are left (Visvalingam)."""
    points = list(points)
    while len(points) > MAX_CORNERS:
        p = np.asarray(points)
        before, after = np.roll(p, 1, axis=0) - p, np.roll(p, -1, axis=0) - p
        areas = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
        points.pop(int(areas.argmin()))
    return points
