"""Small pictures as inline SVG for the evidence file: no library, no script, no outside font. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dashboard.audit.results import Mean
from dashboard.charts.style import BLUE, GREEN, GREY, ORANGE, PURPLE
from dashboard.text import escaped, signed

WIDTH, LEFT, RIGHT, ROW = 720, 190, 40, 34
"""Pixels: the picture, the room for names on its left, a margin on its right, the height of a row."""

Scale = Callable[[float], float]


def effects(shown: Mapping[str, Any], claims: Sequence[tuple[str, float | None]]) -> str:
    """f(x) → f(x′) of both models, and where everybody else said that it goes, from f(x) of the current model.

    shown: f_current, f_target, f_edited_…, effect_…, explanation, output (nats); claims: (reviewer, predicted Δ).
    """
    f = float(shown["f_current"])
    rows = [
        ("target", float(shown["f_target"]), shown["effect_target"], ORANGE, "diamond"),
        ("current", f, shown["effect_current"], BLUE, "circle"),
        ("explanation", f, shown["explanation"], GREEN, "square"),
        *((name, f, value, PURPLE, "triangle") for name, value in claims),
        ("−f(x), scaled", f, shown["output"], GREY, "cross"),
    ]
    drawn = [(n, start, float(effect), c, m) for n, start, effect, c, m in rows if effect is not None]
    ends = [v for _, start, effect, *_ in drawn for v in (start, start + effect)]
    x, ticks = _scale([0.0, *ends])
    pieces = []
    for place, (name, start, effect, colour, mark) in enumerate(drawn):
        y, a, b = _middle(place), x(start), x(start + effect)
        pieces += [
            _name(name, y),
            f'<line x1="{a:.1f}" y1="{y}" x2="{b:.1f}" y2="{y}" stroke="{colour}" stroke-width="3"/>',
            f'<circle cx="{a:.1f}" cy="{y}" r="4" fill="none" stroke="{colour}" stroke-width="2"/>',
            _mark(mark, b, y, colour),
            f'<text x="{b:.1f}" y="{y - 9}" text-anchor="middle">{signed(effect)}</text>',
        ]
    said = "; ".join(f"{name} {signed(effect)}" for name, _, effect, *_ in drawn)
    axis = "f in nats (open: x, filled: x′; the number is Δ)"
    return _svg(pieces + _axis(x, ticks, len(drawn), axis), len(drawn), f"Effects in nats: {said}")


def means(errors: Sequence[Mean]) -> str:
    """Mean errors with their intervals, nats."""
    looks = ((PURPLE, "triangle"), (GREEN, "square"), (GREY, "cross"), (BLUE, "circle"))
    known = [(m, *look) for m, look in zip(errors, looks, strict=False) if m.value is not None]
    ends = [v for m, *_ in known for v in (m.value, m.low, m.high) if v is not None]
    x, ticks = _scale([0.0, *ends])
    pieces = []
    for place, (mean, colour, mark) in enumerate(known):
        y, at = _middle(place), x(float(mean.value or 0))
        pieces.append(_name(mean.name, y))
        if mean.low is not None and mean.high is not None:
            ends_at = f'x1="{x(mean.low):.1f}" y1="{y}" x2="{x(mean.high):.1f}" y2="{y}"'
            pieces.append(f'<line {ends_at} stroke="{colour}" stroke-width="2"/>')
        pieces += [
            _mark(mark, at, y, colour),
            f'<text x="{at:.1f}" y="{y - 9}" text-anchor="middle">{mean.text}</text>',
        ]
    said = "; ".join(f"{m.name} {m.text}" for m, *_ in known)
    return _svg(pieces + _axis(x, ticks, len(known), "mean error, nats"), len(known), f"Mean errors in nats: {said}")


def bars(counts: Sequence[tuple[str, int]], title: str) -> str:
    """Counts as bars with the number beside."""
    most = max((n for _, n in counts), default=0) or 1
    pieces = []
    for place, (name, n) in enumerate(counts):
        y, length = _middle(place), (WIDTH - LEFT - RIGHT - 20) * n / most
        pieces += [
            _name(name, y),
            f'<rect x="{LEFT}" y="{y - 9}" width="{length:.1f}" height="18" fill="{BLUE}"/>',
            f'<text x="{LEFT + length + 8:.1f}" y="{y + 4}">{n}</text>',
        ]
    said = "; ".join(f"{name} {n}" for name, n in counts)
    return f"<h3>{escaped(title)}</h3>" + _svg(pieces, len(counts), f"{title}: {said}", axis=False)


def _middle(place: int) -> int:
    return 26 + ROW * place


def _name(text: str, y: int) -> str:
    cut = text if len(text) <= 24 else f"{text[:23]}…"
    return f'<text x="{LEFT - 14}" y="{y + 4}" text-anchor="end">{escaped(cut)}</text>'


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    """A symbol of its own for each, so that nothing rests on colour alone."""
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y}" r="6" fill="{colour}"/>'
    corners = {
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "square": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "triangle": ((0, -7), (7, 5), (-7, 5)),
        "cross": ((-6, -4), (-4, -6), (0, -2), (4, -6), (6, -4), (2, 0), (6, 4), (4, 6), (0, 2), (-4, 6), (-6, 4),
                  (-2, 0)),
    }[kind]  # fmt: skip
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" fill="{colour}"/>'


def _scale(values: Sequence[float]) -> tuple[Scale, list[float]]:
    """Pixels of a number, and round ticks: about six, at steps of 1, 2 or 5."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin
    rough = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(power * next(m for m in (1, 2, 5, 10) if m * power >= rough))
    ticks = [float(t) for t in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]
    return lambda v: LEFT + (WIDTH - LEFT - RIGHT) * (v - low) / (high - low), ticks


def _axis(x: Scale, ticks: Sequence[float], rows: int, title: str) -> list[str]:
    bottom = _middle(rows) - 8
    lines = [
        f'<line x1="{x(t):.1f}" y1="8" x2="{x(t):.1f}" y2="{bottom}" stroke="{GREY}"'
        f' stroke-opacity="{0.9 if abs(t) < 1e-12 else 0.25}"/>'
        f'<text x="{x(t):.1f}" y="{bottom + 16}" text-anchor="middle">{f"{t + 0.0:g}".replace("-", "−")}</text>'
        for t in ticks
    ]
    middle = (LEFT + WIDTH - RIGHT) / 2
    return [*lines, f'<text x="{middle:.1f}" y="{bottom + 36}" text-anchor="middle">{escaped(title)}</text>']


def _svg(pieces: Sequence[str], rows: int, alt: str, axis: bool = True) -> str:
    height = _middle(rows) + (36 if axis else -8)
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escaped(alt)}" xmlns="http://www.w3.org/2000/svg">'
        f"{''.join(pieces)}</svg>"
    )
