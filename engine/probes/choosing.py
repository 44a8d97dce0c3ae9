"""Which settings probes get: every place is tried by itself, by any `Workers`.

Probes are chosen before any gap is computed: by grouped cross-validation of the correlation with the targets, at the
checkpoint where they are trained. Of a place with very many rows a ridge's workers take parts, and each gives back the
scatter matrices of its rows: so what travels grows with the square of the width, not with the rows. The parts follow
from the rows alone, so the numbers do not depend on the workers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from engine.config import ExplainerKind, RunSpec
from engine.probes.kinds import EXPLAINERS, REFERENCE
from engine.probes.probe import Probe
from engine.probes.regimes import best, cross_validate
from engine.probes.ridge import Folds, grouped_folds
from engine.probes.scatter import Cells, Scatter, added, cross_validated, scatters
from engine.progress import Progress
from engine.runs.kept import Kept
from engine.runs.observed import Observed, Place
from engine.runs.store import Run
from engine.workers.local import Told, Workers

SMALLER = 4
"""A part has at least so many times more numbers than its scatter matrices."""
BLOCK = 8192
"""Rows that are in memory at once as float64 where a part is read."""


@dataclass(frozen=True)
class Asked:
    """A kind of probe at a place, and some of its training rows: from a number to before another."""

    kind: ExplainerKind
    place: Place
    start: int
    stop: int
    whole: bool


@dataclass
class Choosing:
    """Scores settings of a measured run's probes (a `workers.Work`)."""

    folder: Path
    spec: RunSpec
    loaded: Observed | None = field(default=None, repr=False)

    def begin(self) -> None:
        if self.loaded is None:
            self.loaded = Observed(Run.open(self.folder), self.spec)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "spec": self.spec, "loaded": None}

    def do(self, item: Asked, told: Told | None = None) -> dict[float, float] | list[Scatter | None]:
        """Penalty → score, of a whole place; of a part its scatter matrix in each cell."""
        observed = self.loaded
        assert observed is not None
        rows = observed.rows(item.place.edit, "train")
        folds, effects = folds_of(observed, rows), observed.behavior(observed.target).effect[rows]
        if item.whole:
            x = observed.features(observed.start, item.place, rows)
            spec = observed.spec
            return cross_validate(item.kind, x, effects, folds, spec.explainers, seed=spec.seed)
        assert folds is not None
        cells = Cells.of(folds, len(rows))
        found: list[Scatter | None] = [None] * len(cells)
        for start in range(item.start, item.stop, BLOCK):
            some = slice(start, min(start + BLOCK, item.stop))
            x = observed.features(observed.start, item.place, rows[some], part=True)
            here = scatters(x, effects[some], cells.of_row[some], len(cells))
            found = [added(pair) if any(pair) else None for pair in zip(found, here, strict=True)]
        return found


def folds_of(observed: Observed, rows: np.ndarray) -> Folds | None:
    """Folds of some training rows; None: each row is held out by itself."""
    spec = observed.spec.explainers
    if spec.cross_validation != "grouped":
        return None
    return grouped_folds(**observed.factors(rows), folds=spec.folds, seed=observed.spec.seed)


def choose(observed: Observed, progress: Progress, workers: Workers, kept: Kept) -> list[Probe]:
    """All probes, one for each kind and place, with its best penalty. Sets the marks `best` and `chosen`."""
    items = list(_asked(observed))
    whole = {(item.kind, item.place): item.whole for item in items}
    left = [item for item in items if _name(item) not in kept]  # parts of a place are not kept
    scores = {(i.kind, i.place): kept.get(_name(i)) for i in items if _name(i) in kept}
    parts: dict[tuple[ExplainerKind, Place], dict[int, list[Scatter | None]]] = defaultdict(dict)
    known = len(items) - len(left)
    progress("choosing settings", known, len(items))
    with workers.crew(Choosing(observed.record.path, observed.spec, observed)) as crew:
        for done, (item, found) in enumerate(crew.each(left), start=known + 1):
            own = item.kind, item.place
            if item.whole:
                scores[own] = found
                kept.put(_name(item), found)
            else:
                parts[own][item.start] = found
            progress("choosing settings", done, len(items))
    for (kind, place), found_at in parts.items():
        scores[kind, place] = _of_parts(observed, place, [found_at[start] for start in sorted(found_at)])
    chosen = []
    for kind in observed.spec.explainers.kinds:
        penalties = {place: best(scores[own, place]) for own, place in whole if own == kind}
        chosen += _marked(observed, [Probe(kind, p, a, float(scores[kind, p][a])) for p, a in penalties.items()])
    return chosen


def _name(item: Asked) -> str:
    return f"choosing {item.kind} {item.place}"


def _asked(observed: Observed) -> Iterator[Asked]:
    spec = observed.spec.explainers
    for kind in spec.kinds:
        cheap = EXPLAINERS[kind].cheap
        for edit in observed.edits if cheap else observed.headline_edits:
            rows = observed.rows(edit, "train")
            if len(rows) < 2 * spec.folds:
                continue
            for place in observed.places(tuple(m for m in spec.modes if cheap or m == "direct"), [edit]):
                bounds = _bounds(observed, kind, place, rows)
                for start, stop in pairwise(bounds):
                    yield Asked(kind, place, start, stop, whole=len(bounds) == 2)


def _bounds(observed: Observed, kind: ExplainerKind, place: Place, rows: np.ndarray) -> list[int]:
    """Where the parts of a place's rows begin and end."""
    if kind != REFERENCE or len(rows) < BLOCK or observed.spec.explainers.cross_validation != "grouped":
        return [0, len(rows)]
    folds = folds_of(observed, rows)
    assert folds is not None
    width = observed.features(observed.start, place, rows[:1], part=True).shape[1]
    parts = max(1, len(rows) // (SMALLER * len(Cells.of(folds, len(rows))) * (width + 1)))
    return np.linspace(0, len(rows), parts + 1).astype(int).tolist()


def _of_parts(observed: Observed, place: Place, parts: list[list[Scatter | None]]) -> dict[float, float]:
    rows = observed.rows(place.edit, "train")
    folds, penalties = folds_of(observed, rows), observed.spec.explainers.penalties
    assert folds is not None
    cells = Cells.of(folds, len(rows))
    found = [added(of_cell) for of_cell in zip(*parts, strict=True)]
    return dict(zip(penalties, cross_validated(found, cells, penalties).tolist(), strict=True))


def _marked(observed: Observed, probes: list[Probe]) -> list[Probe]:
    """Probes of one kind, with the best of each edit and mode and the headline marked."""
    ranked = sorted(probes, key=lambda p: np.nan_to_num(p.cv, nan=-2.0), reverse=True)
    winners = list({(p.place.edit, p.place.mode): p for p in reversed(ranked)}.values())
    headlines = [p for p in ranked if p.place.mode == "direct" and p.place.edit in observed.headline_edits]
    return [replace(p, best=p in winners, chosen=p in headlines[:1]) for p in probes]
