"""Says which noise breaks an explainer, for each kind of noise, and explains the null and the ceiling."""

from __future__ import annotations

from dataclasses import dataclass, replace

import streamlit as st

from dashboard.charts import number
from dashboard.refit import cached

KINDS = {"shuffle": "Shuffle", "flip": "Flip", "gaussian": "Gaussian"}
NULL_AND_CEILING = (
    "Null: the 95% band of Self of probes trained on labels that were shuffled among the groups, so that they know "
    "nothing. The curve breaks where Self falls into it. Ceiling: Self of the same probe trained on the current "
    "model's own effects, the most that these hidden states give away."
)
NUMBERS_HELP = (
    "Self: r of the explanation and the effects of the current model. Orig: r with the effects of the target, on which "
    "the probe is trained. Both are means over the seeds of the noise, on examples outside the training set."
)


@dataclass(frozen=True)
class Break:
    """Where one kind of noise breaks an explainer."""

    kind: str
    clean: float
    """Self without noise."""
    null: tuple[float, float]
    at: float | None
    """The level at which Self enters the null band; None if at no level."""
    keeps_until: float | None
    """The level until which nine tenths of `clean` are left; None if at every level."""


@st.cache_data(max_entries=64, show_spinner=False)
def _break(case: cached.RefitCase, sliders: cached.Sliders) -> Break:
    found = cached.refit(case, sliders)
    return Break(sliders.kind, float(found.curve["self"].iloc[0]), found.null, found.breaks_at, found.keeps_until)


def breaks(case: cached.RefitCase, sliders: cached.Sliders) -> list[Break]:
    """One for each kind of noise, with all other settings as selected."""
    same = replace(sliders, level=0.0)  # the selected level plays no part
    return [_break(case, replace(same, kind=kind)) for kind in KINDS]


def lines(found: list[Break]) -> list[str]:
    """A sentence for each kind of noise, or one for all if Self is in the null band without noise."""
    null = " to ".join(number(end) for end in found[0].null)
    if any(one.at == 0 for one in found):
        return [f"Already without noise Self ({number(found[0].clean)}) is not above the null band ({null})."]
    return [_line(one, null) for one in found]


def _line(one: Break, null: str) -> str:
    name = KINDS[one.kind]
    if one.at is None:
        text = f"{name}: no level breaks it; at 100% Self is still above the null band ({null})."
    else:
        text = f"{name} breaks it at {one.at:.0%}: there Self enters the null band ({null})."
    if one.keeps_until is not None and one.clean > 0:
        text += f" Nine tenths of its noise-free Self ({number(one.clean)}) are left until {one.keeps_until:.0%}."
    return text
