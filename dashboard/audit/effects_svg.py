"""One example's effects as inline SVG for the evidence file: no library, no script, no outside font. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dashboard.charts import style
from dashboard.charts.style import GREY
from dashboard.text import escaped, signed

WIDTH, LEFT, RIGHT, ROW = 720, 190, 40, 34
"""Pixels: the picture, the room for names on its left, a margin on its right, the height of a row."""
CORNERS = {
    "diamond": (0, -7, 7, 0, 0, 7, -7, 0),
    "square": (-5, -5, 5, -5, 5, 5, -5, 5),
    "triangle-up": (0, -7, 7, 5, -7, 5),
    "x": (-6, -4, -4, -6, 0, -2, 4, -6, 6, -4, 2, 0, 6, 4, 4, 6, 0, 2, -4, 6, -6, 4, -2, 0),
}
"""The corners of each symbol of `style` as x, y, x, y, …: pixels from its centre."""

DASHED = ' stroke-dasharray="8 5"'


def effects_svg(shown: Mapping[str, Any], claims: Sequence[tuple[str, float | None]]) -> str:
    """f(x) → f(x′) of both models, and where everybody else said that it goes, from f(x) of the current model.

    shown: f_current, f_target, effect_…, explanation, output (nats); claims: (reviewer, predicted Δ).
    """
    f = float(shown["f_current"])
    rows = [
        ("target", float(shown["f_target"]), shown["effect_target"], style.TARGET),
        ("current", f, shown["effect_current"], style.CURRENT),
        ("explanation", f, shown["explanation"], style.EXPLANATION),
        *((name, f, value, style.GUESS) for name, value in claims),
        ("−f(x), scaled", f, shown["output"], style.OUTPUT),
    ]
    drawn = [(n, start, float(effect), look) for n, start, effect, look in rows if effect is not None]
    x, ticks = _scale([0.0, *(v for _, start, effect, *_ in drawn for v in (start, start + effect))])
    pieces = []
    for place, (name, start, effect, look) in enumerate(drawn):
        colour = look.colour
        y, a, b = _middle(place), x(start), x(start + effect)
        cut = name if len(name) <= 24 else f"{name[:23]}…"
        pieces += [
            f'<text x="{LEFT - 14}" y="{y + 4}" text-anchor="end">{escaped(cut)}</text>',
            f'<line x1="{a:.1f}" y1="{y}" x2="{b:.1f}" y2="{y}" stroke="{colour}" stroke-width="3"'
            f"{DASHED if look.dash == 'dash' else ''}/>",
            f'<circle cx="{a:.1f}" cy="{y}" r="4" fill="none" stroke="{colour}" stroke-width="2"/>',
            _mark(look.symbol, b, y, colour),
            f'<text x="{b:.1f}" y="{y - 9}" text-anchor="middle">{signed(effect)}</text>',
        ]
    said = escaped("; ".join(f"{name} {signed(effect)}" for name, _, effect, *_ in drawn))
    return (
        f'<svg viewBox="0 0 {WIDTH} {_middle(len(drawn)) + 36}" role="img" aria-label="Effects in nats: {said}"'
        f' xmlns="http://www.w3.org/2000/svg">{"".join(pieces)}{_axis(x, ticks, len(drawn))}</svg>'
    )


def _middle(place: int) -> int:
    return 26 + ROW * place


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    """Each series has its own symbol, so that nothing rests on colour alone."""
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y}" r="6" fill="{colour}"/>'
    numbers = CORNERS[kind]
    points = " ".join(f"{x + dx:.1f},{y + dy:.1f}" for dx, dy in zip(numbers[::2], numbers[1::2], strict=True))
    return f'<polygon points="{points}" fill="{colour}"/>'


def _scale(values: Sequence[float]) -> tuple[Callable[[float], float], list[float]]:
    """Pixels of a number, and round ticks: about six, at steps of 1, 2 or 5."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    low, high = low - margin, high + margin
    rough = (high - low) / 6
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(power * next(m for m in (1, 2, 5, 10) if m * power >= rough))
    ticks = [float(t) for t in np.arange(np.ceil(low / step), np.floor(high / step) + 1) * step]
    return lambda v: LEFT + (WIDTH - LEFT - RIGHT) * (v - low) / (high - low), ticks


def _axis(x: Callable[[float], float], ticks: Sequence[float], rows: int) -> str:
    bottom = _middle(rows) - 8
    lines = [
        f'<line x1="{x(t):.1f}" y1="8" x2="{x(t):.1f}" y2="{bottom}" stroke="{GREY}"'
        f' stroke-opacity="{0.9 if abs(t) < 1e-12 else 0.25}"/>'
        f'<text x="{x(t):.1f}" y="{bottom + 16}" text-anchor="middle">{f"{t + 0.0:g}".replace("-", "−")}</text>'
        for t in ticks
    ]
    title = "f in nats (open: x, filled: x′; the number is Δ)"
    middle = (LEFT + WIDTH - RIGHT) / 2
    return "".join(lines) + f'<text x="{middle:.1f}" y="{bottom + 36}" text-anchor="middle">{title}</text>'
