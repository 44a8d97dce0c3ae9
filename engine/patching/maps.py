"""Maps of activation patching: the places that restore behavior or explanations, and whether they are the same.

A map of an example is [layers, regions]: the effect on a score of patching a region of x at a layer with the states of
x' (`hooks`). Both maps of an example get the sign of their total change and are correlated over their cells; the
correlations are averaged over examples. Cells whose effect is known beforehand are left out: the region before the edit
and all positions together, cells where x and x' have the same states, and layers that the explanation does not read
(its own and those above). No torch: pages read these numbers too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from engine.stats.bootstrap import Resamples, interval

BEFORE, ALL = "before the edit", "all positions"
EDIT = ("edit, first third", "edit, middle", "edit, last third")
AFTER = ("after, first third", "after, middle", "after, last third")
END = ("last token but two", "last token but one", "last token")
REGIONS = (BEFORE, *EDIT, *AFTER, *END, ALL)
"""Groups of positions of x, in order; each is patched as a whole. The first has no effect in a causal model; the last
shows how much this alignment can restore at a layer."""
COMPARED = (*EDIT, *AFTER, *END)

CONTROLS = ("another example", "positions permuted", "shuffled labels", "beyond the output")
"""Controls of the correlation: another example's explanation map; the explanation's regions permuted within each layer;
maps of probes trained on group-wise shuffled labels; and the map of the explanation beyond f(x), without its regression
on f over the examples, because an explanation that reads the output agrees with it trivially."""


def regions(edit: tuple[int, int], n: int) -> dict[str, tuple[int, ...]]:
    """Positions of x [n tokens] by region, for an edit of the half-open range `edit`; some may be empty."""
    start, stop = edit
    first_of_end = max(stop, n - len(END))
    found: dict[str, tuple[int, ...]] = {BEFORE: tuple(range(start))}
    for names, span in ((EDIT, (start, stop)), (AFTER, (stop, first_of_end))):
        parts = np.array_split(np.arange(*span), len(names))
        found |= {name: tuple(int(p) for p in part) for name, part in zip(names, parts, strict=True)}
    for back, name in enumerate(reversed(END), start=1):
        found[name] = (n - back,) if n - back >= first_of_end else ()
    found[ALL] = tuple(range(n))
    return {name: found[name] for name in REGIONS}


@dataclass(frozen=True)
class Maps:
    """Maps of n examples over L layers and the compared regions R."""

    behavior: np.ndarray
    """[n, L, R] nats"""
    explanation: np.ndarray
    """[n, L, R] nats, or [n, L, R, k] of k explainers at once."""
    compared: np.ndarray
    """[n, L, R] bool: cells that count."""
    effect: np.ndarray
    """Δ of each example, [n]."""
    moved: np.ndarray
    """Explanation at x' − explanation at x, [n] or [n, k]."""

    def cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Behavior and explanation with the sign of their total change, and weights 0 or 1: each [n, L · R, 1 or k]."""
        n = len(self.behavior)
        b = self.behavior.reshape(n, -1, 1) * np.sign(self.effect)[:, None, None]
        e = self.explanation.reshape(n, b.shape[1], -1) * np.sign(self.moved).reshape(n, 1, -1)
        return b, e, self.compared.reshape(n, -1, 1).astype(np.float64)


def agreement(maps: Maps) -> np.ndarray:
    """Correlation of both maps of each example over its compared cells: [n], or [n, k]. NaN if fewer than three cells
    count or a map is constant."""
    found = _weighted_correlation(*maps.cells())
    return found[:, 0] if maps.explanation.ndim == 3 else found


def _weighted_correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Correlation over axis 1 with 0/1 weights; NaN if it is not defined."""
    total = weight.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = (a - ((a * weight).sum(axis=1) / total)[:, None]) * weight
        b = (b - ((b * weight).sum(axis=1) / total)[:, None]) * weight
        aa, bb, ab = (a**2).sum(axis=1), (b**2).sum(axis=1), (a * b).sum(axis=1)
        aa, bb, ab = np.broadcast_arrays(aa, bb, ab)
        defined = (np.broadcast_to(total, ab.shape) >= 3) & (aa > 0) & (bb > 0)
        return np.where(defined, np.clip(ab / np.sqrt(aa * bb), -1, 1), np.nan)


def with_another_example(maps: Maps, shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """Mean agreement with the explanation map of another example (n > 1), over cells that count in both: [shuffles]."""
    n = len(maps.behavior)
    b, e, mask = (each[..., 0] for each in maps.cells())
    table = np.stack([_weighted_correlation(b[i][None], e, mask * mask[i]) for i in range(n)])
    means = np.empty(shuffles)
    for s in range(shuffles):
        order = rng.permutation(n)  # a single cycle: no example keeps its own map
        other = np.empty(n, dtype=int)
        other[order] = np.roll(order, 1)
        means[s] = _mean(table[np.arange(n), other])
    return means


def with_positions_permuted(maps: Maps, shuffles: int, rng: np.random.Generator) -> np.ndarray:
    """Mean agreement where the explanation's regions are permuted within each layer, among those that count:
    [shuffles]."""
    there = np.argsort(~maps.compared, axis=2, kind="stable")
    means = np.empty(shuffles)
    for s in range(shuffles):
        keys = np.where(maps.compared, rng.random(maps.compared.shape), np.inf)
        drawn = np.take_along_axis(maps.explanation, np.argsort(keys, axis=2, kind="stable"), axis=2)
        moved = np.empty_like(maps.explanation)
        np.put_along_axis(moved, there, drawn, axis=2)
        means[s] = _mean(agreement(replace(maps, explanation=moved)))
    return means


def beyond_output(maps: Maps, explanation_at_x: np.ndarray, f: np.ndarray) -> Maps:
    """Maps of the explanation beyond a linear reading of f(x): its regression on f [n] is subtracted."""
    centred = f - f.mean()
    spread = float(centred @ centred)
    slope = float(centred @ explanation_at_x) / spread if spread > 0 else 0.0
    left = maps.explanation - slope * maps.behavior
    return replace(maps, explanation=left, moved=maps.moved - slope * maps.effect)


def means(r: np.ndarray) -> np.ndarray:
    """Mean over the examples of [n, k] that are defined: [k], NaN if none is."""
    defined = ~np.isnan(r)
    counts = defined.sum(axis=0)
    return np.where(counts > 0, np.where(defined, r, 0.0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def _mean(values: np.ndarray) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if len(kept) else np.nan


def mean_interval(r: np.ndarray, resamples: Resamples, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean over the defined examples of [n], with its bootstrap interval."""
    defined = ~np.isnan(r)
    sums = resamples.sums(np.stack([np.where(defined, r, 0.0), defined.astype(float)], axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = interval((sums[:, 0] / sums[:, 1])[:, None], confidence)
    return _mean(r), float(low[0]), float(high[0])


def restored(table: pd.DataFrame) -> pd.DataFrame:
    """Mean restoration by patching, from rows of records.PATCHING: one row for each layer and region.

    Columns: layer, region, n, behavior and explanation (shares of the total change: the regression through 0 of the
    patch's effect on Δ and on the explanation's own change, so that examples without a change do not count),
    behavior_nats and explanation_nats (mean size of the effect).
    """
    t = table.assign(region=table["region"].astype(str))
    products = {
        "behavior_top": t["behavior"] * t["effect"],
        "behavior_bottom": t["effect"] ** 2,
        "explanation_top": t["explanation"] * t["moved"],
        "explanation_bottom": t["moved"] ** 2,
        "behavior_nats": t["behavior"].abs(),
        "explanation_nats": t["explanation"].abs(),
    }
    sums = t[["layer", "region"]].assign(n=1, **products).groupby(["layer", "region"], sort=False).sum().reset_index()
    for name in ("behavior", "explanation"):
        bottom = sums.pop(f"{name}_bottom")
        sums[name] = (sums.pop(f"{name}_top") / bottom).where(bottom > 0)
        sums[f"{name}_nats"] /= sums["n"]
    order = {name: i for i, name in enumerate(REGIONS)}
    sums = sums.sort_values(["layer", "region"], key=lambda c: c.map(order) if c.name == "region" else c)
    return sums[["layer", "region", "n", "behavior", "explanation", "behavior_nats", "explanation_nats"]]


def mean_band(draws: np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean and band of a control that is a distribution, from its draws."""
    low, high = interval(draws[:, None], confidence)
    return _mean(draws), float(low[0]), float(high[0])


def markdown(agreements: pd.DataFrame) -> str:
    """Rows of records.PATCHING_AGREEMENT as the README shows them: a line for each checkpoint and kind of edit."""
    names = ("both maps", *CONTROLS)
    lines = ["| checkpoint, edit | probe's layer | n | " + " | ".join(names) + " |", "|---" * (3 + len(names)) + "|"]
    for (checkpoint, edit), rows in agreements.groupby(["checkpoint", "edit"], sort=False):
        own = rows.assign(control=rows["control"].fillna(names[0])).set_index("control")
        cells = []
        for name in names:
            r, low, high = own.reindex([name])[["r", "low", "high"]].to_numpy(np.float64)[0]
            cells.append("–" if np.isnan(r) else f"{r:+.2f} [{low:+.2f}, {high:+.2f}]")
        about = rows.iloc[0]
        lines.append(f"| {checkpoint}, {edit} | {about['probe_layer']} | {about['n']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
