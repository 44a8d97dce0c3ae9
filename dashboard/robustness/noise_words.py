"""What the live refit says in words: at the level chosen, and which noise would break it, kind by kind."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from dashboard.charts import number
from dashboard.refit import cached

KINDS = {"shuffle": "Shuffle", "flip": "Flip", "gaussian": "Gaussian"}
NULL_AND_CEILING = (
    "Null: the 95% band of Self of probes trained on labels that were shuffled among the groups, so that they know "
    "nothing; the curve breaks where Self falls into it. Ceiling: Self of the same probe trained on the current "
    "model's own effects, which is as much as these hidden states give away."
)
NUMBERS_HELP = (
    "Self: r of the explanation and the effects of the current model. Orig: r with the effects of the target, which "
    "the labels are of. Both are means over the seeds of the noise, on examples that were not trained on."
)


@dataclass(frozen=True)
class Break:
    """Self along the levels of one kind of noise."""

    kind: str
    clean: float
    """Self without noise."""
    null: tuple[float, float]
    at: float | None
    """The level at which it enters the null band; None: at none."""
    keeps_until: float | None
    """The level until which nine tenths of `clean` are left; None: throughout."""


@st.cache_data(max_entries=64, show_spinner=False)
def _breaks(place: cached.Place, choice: cached.Choice) -> Break:
    return of(choice.kind, cached.run(place, choice))


def of(kind: str, found: cached.Live) -> Break:
    """As a refit found it."""
    clean = float(found.curve["self"].iloc[0])
    return Break(kind, clean, (found.null[1], found.null[2]), found.breaks_at, found.keeps_until)


def breaks(place: cached.Place, choice: cached.Choice, found: cached.Live) -> list[Break]:
    """Of every kind of noise, all else as chosen; the chosen kind as `found`."""
    same = replace(choice, level=0.0)  # where it breaks does not hang on the level looked at
    return [of(kind, found) if kind == choice.kind else _breaks(place, replace(same, kind=kind)) for kind in KINDS]


def lines(found: list[Break]) -> list[str]:
    """What noise would break it: a sentence for each kind, or one for all where it is broken without any."""
    null = " to ".join(number(end) for end in found[0].null)
    if any(one.at == 0 for one in found):
        return [f"Already without noise Self ({number(found[0].clean)}) is not above the null band ({null})."]
    return [line(one, null) for one in found]


def line(one: Break, null: str) -> str:
    name = KINDS[one.kind]
    if one.at is None:
        text = f"{name}: no level breaks it; at 100% Self is still above the null band ({null})."
    else:
        text = f"{name} breaks it at {one.at:.0%}: there Self enters the null band ({null})."
    if one.keeps_until is not None and one.clean > 0:
        text += f" Nine tenths of its noise-free Self ({number(one.clean)}) are left until {one.keeps_until:.0%}."
    return text
