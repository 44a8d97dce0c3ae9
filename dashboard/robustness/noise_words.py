"""Says which noise breaks an explainer, for each kind of noise, and explains the null and the ceiling."""

from __future__ import annotations

from dataclasses import replace

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


def lines(case: cached.RefitCase, sliders: cached.Sliders, found: cached.Refit) -> list[str]:
    """A sentence for each kind of noise, with all other settings as selected; a single one if nothing is left to break.

    found: the refit of the selected kind.
    """
    others = replace(sliders, level=0.0)  # where it breaks does not depend on the selected level
    kinds = {k: found if k == sliders.kind else cached.refit(case, replace(others, kind=k)) for k in KINDS}
    null = " to ".join(number(end) for end in found.null)
    if any(one.breaks_at == 0 for one in kinds.values()):
        return [f"Already without noise Self ({number(found.clean)}) is not above the null band ({null})."]
    return [line(name, kinds[kind], null) for kind, name in KINDS.items()]


def line(name: str, found: cached.Refit, null: str) -> str:
    """The sentence for one kind of noise."""
    if found.breaks_at is None:
        text = f"{name}: no level breaks it; at 100% Self is still above the null band ({null})."
    else:
        text = f"{name} breaks it at {found.breaks_at:.0%}: there Self enters the null band ({null})."
    if found.keeps_until is None or found.clean <= 0:
        return text
    kept = f"ine tenths of its noise-free Self ({number(found.clean)}) are left until {found.keeps_until:.0%}."
    if found.breaks_at is None or found.breaks_at > found.keeps_until:
        return f"{text} N{kept}"
    return f"{text} Its size says less: n{kept} Yet from {found.breaks_at:.0%} on labels without meaning reach as much."
