"""Which run tells which part of the lesson: found by what the runs measure, never by a path.

Three roles: the `story` (behavior drifts over several checkpoints), the known `null` (f(x) and f(x') move, the
effect hardly does) and the known positive, `lookalike` (f(x) moves, f(x') does not). A run whose note names a world
is preferred for that world's role, but only its numbers decide whether it fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from dashboard.reading import chosen as settings
from dashboard.reading import data
from dashboard.reading.tables import part, query
from engine.runs.store import RunError
from engine.tasks.worlds import HELD, MOVED

ROLES = ("story", "null", "lookalike")
WORLDS = {"story": "independent", "null": "shared", "lookalike": "cue"}
"""The world that a role is made for."""

MISSING = {
    "story": "a run with two checkpoints or more of one model, the first of which is its target",
    "null": "a run in which f(x) and f(x′) move alike and the effect Δ hardly moves (world “shared”)",
    "lookalike": "a run in which f(x) moves and f(x′) does not (world “cue”)",
}
_WORLD = re.compile(r'world "(\w+)"')


@dataclass(frozen=True)
class Moved:
    """How far behavior moved from the target to the last checkpoint: sd of the change over the sd at the target."""

    f: float
    f_edited: float
    effect: float
    n: int


@dataclass(frozen=True)
class Told:
    """A run as a teller of the lesson."""

    entry: data.RunEntry
    explainer: str
    regime: str
    split: str
    edit: str
    """The kind of edit of the chosen setting."""
    checkpoints: tuple[str, ...]
    own_target: bool
    """Whether the target is the first checkpoint."""
    world: str | None
    """As its note names it."""
    moved: Moved
    gap: float | None
    """Of the chosen setting at the last checkpoint."""

    @property
    def key(self) -> str:
        return self.entry.key

    @property
    def path(self) -> Path:
        return self.entry.path

    @property
    def task(self) -> str:
        return self.entry.task

    def fits(self, role: str) -> bool:
        """Whether the numbers are those of the role."""
        if not self.own_target or len(self.checkpoints) < 2:
            return False
        m = self.moved
        if role == "null":
            return m.f > MOVED and m.f_edited > MOVED and m.effect < HELD
        if role == "lookalike":
            return m.f > MOVED and m.f_edited < HELD and m.effect > MOVED
        return m.f > MOVED and m.f_edited > MOVED and m.effect > MOVED


def candidates(told: Sequence[Told], role: str) -> list[Told]:
    """Runs for a role, best first: those that fit, then those named for it that do not; the story also takes any run
    with a drift of its own.

    Among those that fit, the ones with more checkpoints, then the ones named for the role's world come first.
    """
    named = [t for t in told if t.own_target and len(t.checkpoints) > 1 and t.world == WORLDS[role]]
    fit = [t for t in told if t.fits(role)]
    rest = [t for t in told if t.own_target and len(t.checkpoints) > 1] if role == "story" else []
    ranked = sorted(fit, key=lambda t: (-len(t.checkpoints), t not in named))
    return list(dict.fromkeys([*ranked, *named, *rest]))


def tasks(told: Sequence[Told]) -> list[str]:
    """Tasks to tell the lesson with, the one that shows its points best first: most roles that fit, then the largest
    gap of an explanation in the known positive, where it is nothing but the output being read."""

    def worth(task: str) -> tuple[int, float]:
        mine = [t for t in told if t.task == task]
        fitting = [role for role in ROLES if any(t.fits(role) for t in mine)]
        gaps = [t.gap for t in mine if t.fits("lookalike") and t.gap is not None]
        return len(fitting), max(gaps, default=float("-inf"))

    return sorted({t.task for t in told}, key=lambda task: (worth(task), task), reverse=True)


# Reading: everything above is pure


def tellers() -> tuple[list[Told], list[str]]:
    """All runs that can tell a part of the lesson, and a line for each run that can't be read."""
    told, problems = [], []
    for entry in data.runs():
        if entry.state not in ("complete", "running", "interrupted"):
            continue
        try:
            if (one := _told(entry)) is not None:
                told.append(one)
        except RunError as error:
            problems.append(str(error))
    return told, problems


def _told(entry: data.RunEntry) -> Told | None:
    """None where the run has no explained checkpoint yet."""
    options = data.options(entry.path)
    if not options.explainers or not options.splits or not options.edits:
        return None
    explainer = next((e for e in options.explainers if e != "verbal"), None)
    if explainer is None:
        return None
    regime = next(iter(options.regimes[explainer]), "frozen")
    split = next((s for s in ("test_heldout", "test_iid", "validation") if s in options.splits), options.splits[0])
    rows = data.metrics(entry.path, control=None, explainer=explainer, regime=regime, split=split, noise_kind="none")
    edit = settings.default_edit(rows)
    if edit is None:
        return None
    last = rows[(rows.edit == edit) & (rows.checkpoint == options.checkpoints[-1]) & (rows.chosen == True)]  # noqa: E712
    gap = float(last.gap.iloc[0]) if len(last) and last.gap.notna().iloc[0] else None
    world = _WORLD.search(entry.note)
    return Told(
        entry=entry,
        explainer=explainer,
        regime=regime,
        split=split,
        edit=edit,
        checkpoints=options.checkpoints,
        own_target=options.target == options.checkpoints[0],
        world=world[1] if world else None,
        moved=_moved(entry.path, options.checkpoints[-1], split, edit, data.stamp(entry.path)),
        gap=gap,
    )


@st.cache_data(max_entries=64, show_spinner=False)
def _moved(path: Path, checkpoint: str, split: str, edit: str, stamp: str) -> Moved:
    def share(now: str, then: str) -> str:
        return f"coalesce(stddev_pop({now} - ({then})) / nullif(stddev_pop({then}), 0), 0)"

    sql = f"""
      SELECT {share("c.f", "t.f")} AS f, {share("c.f_edited", "t.f_edited")} AS f_edited,
        {share("c.f_edited - c.f", "t.f_edited - t.f")} AS effect, count(*) AS n
      FROM read_parquet(?) e JOIN read_parquet(?) t USING (example_id) JOIN read_parquet(?) c USING (example_id)
      WHERE e.split = ? AND e.edit = ?"""  # noqa: S608 (values go in as parameters)
    names = ("examples.parquet", f"behavior/{data.options(path).target}.parquet", f"behavior/{checkpoint}.parquet")
    files = [part(path, name) for name in names]
    row = query(sql, [*files, split, edit], path).iloc[0]
    return Moved(float(row.f), float(row.f_edited), float(row.effect), int(row.n))


def cast(told: Sequence[Told], task: str, asked: Mapping[str, str]) -> dict[str, Told | None]:
    """The run of each role within a task: the one asked for by key, else the best; None where there is none."""
    mine = [t for t in told if t.task == task]
    chosen: dict[str, Told | None] = {}
    for role in ROLES:
        found = candidates(mine, role)
        wanted = next((t for t in mine if t.key == asked.get(role)), None)
        chosen[role] = wanted or (found[0] if found else None)
    return chosen
