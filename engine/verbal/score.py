"""How well sentences agree with what the current model does (Self) and with the labels (Orig).

Everything is a share or an F1 in [0, 1] over examples of one kind of edit and split; what can't be parsed agrees with
nothing. Intervals are paired: Self and Orig are scored on the same bootstrap weights.

    exact_match           the sentence's answer to x' and its "would (not) change" are both right
    has_changed_f1        macro F1 of "would change" against "would not change"
    content_match         the sentence's answer to x' is right
    …_disagreeing         the same on the examples where labels and current behavior differ in just that
    content_match_moved   content, where the current answer to x' is not the label's and not the present one: copying
                          the present answer scores 0 there, and so does repeating the label
    content_match_balanced   content where it moved, the mean of two halves: the answer to x' is the present one, and
                          it is not. Whatever reads the present answer alone, copying it or contradicting it, scores 0.5

For exact and content match, gap = P(disagree) · (Self − Orig where they disagree), an identity. The exact match's
`counterfactual_gap` is the gap of `content_match_balanced`: 0 for all that reads only the present answer, −1 for a
repetition of the labels, +1 for who knows the unseen answer; but who is merely bad at the labels gains by it too. So
its `change_tracking` asks for the unseen answer alone: among examples with the same label and the same present answer,
how much more often "a" is said where the answer to x' is a now than where it is b (strata weighted as by Mantel and
Haenszel). 0 for a repetition, for whatever reads the present answer, and for guessing; 1 for who knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.stats.correlation import Resamples, interval
from engine.stats.faithfulness import Band, Null, Score
from engine.stats.noise import shuffled_targets
from engine.tasks import Wording
from engine.verbal.labels import Answers

HEADLINE = "exact_match"
METRICS = (
    HEADLINE,
    "has_changed_f1",
    "content_match",
    "exact_match_disagreeing",
    "has_changed_f1_disagreeing",
    "content_match_disagreeing",
    "content_match_moved",
    "content_match_balanced",
)
COUNTS = ("label_agreement", "content_agreement", "parse_rate", "has_changed_rate", "said_changed_rate", "majority")
"""Said beside them, in the column `self`: shares of examples. Of `has_changed_rate`, `orig` is that of the labels."""
TESTABLE = 10
"""Examples that each half of `content_match_balanced` must have."""
TESTABLE_UNITS = 8
"""Entities (where there are none: groups) whose content must have moved: f(x') may depend on the entity alone, and then
these are all the independent evidence there is."""
INTELLIGIBLE = 0.5
"""Share of the explanations that must be parsed for a verdict: who says nothing is not "absent" of coupling."""
COLLAPSED = 0.9
"""Share of one and the same explanation from which on it is called collapsed."""


@dataclass(frozen=True)
class Said:
    """What n sentences say."""

    parsed: np.ndarray
    """bool [n]"""
    edited_is_a: np.ndarray
    """bool [n]; meaningless where not parsed."""
    changed: np.ndarray

    def take(self, rows: np.ndarray) -> Said:
        return Said(self.parsed[rows], self.edited_is_a[rows], self.changed[rows])


def parse(wording: Wording, texts: Sequence[str], answers: Sequence[tuple[str, str]]) -> Said:
    """Read the words after the question [n], each with its example's two answers."""
    found = [wording.parse(text, *pair) for text, pair in zip(texts, answers, strict=True)]
    return Said(
        np.array([f is not None for f in found], dtype=bool),
        np.array([f is not None and f.answer == "a" for f in found], dtype=bool),
        np.array([f is not None and f.changed for f in found], dtype=bool),
    )


Weigh = Callable[[np.ndarray], np.ndarray]
"""Values [n, m] → sums [draws, m]; the first draw is the sample itself."""


def score(
    said: Said,
    now: Answers,
    label: Answers,
    resamples: Resamples,
    *,
    units: np.ndarray | None = None,
    stale: Said | None = None,
    confidence: float = 0.95,
) -> dict[str, Score]:
    """A Score for each of METRICS and COUNTS. now, label: what the current and the target model do; units [n]: the
    entity of each example (default: each its own); stale: what the same explainer said when its training on labels
    ended (labels first, drift after)."""
    sums = _weigher(resamples)
    units = np.arange(len(now.x)) if units is None else units
    content = {"self": said.parsed & (said.edited_is_a == now.edited)}
    content["orig"] = said.parsed & (said.edited_is_a == label.edited)
    exact = {"self": content["self"] & (said.changed == now.changed)}
    exact["orig"] = content["orig"] & (said.changed == label.changed)
    agree_content = now.edited == label.edited
    agree = agree_content & (now.changed == label.changed)
    everywhere = np.ones(len(agree), bool)
    moved = ~agree_content
    halves = (moved & now.changed, moved & ~now.changed)

    draws: dict[str, dict[str, np.ndarray]] = {}
    where: dict[str, np.ndarray] = {}
    for name, right, differ in (("exact_match", exact, ~agree), ("content_match", content, moved)):
        where |= {name: everywhere, f"{name}_disagreeing": differ}
        for metric, mask in ((name, everywhere), (f"{name}_disagreeing", differ)):
            draws[metric] = {who: _share(sums, hit, mask) for who, hit in right.items()}
    flips = now.changed != label.changed
    for metric, mask in (("has_changed_f1", everywhere), ("has_changed_f1_disagreeing", flips)):
        truths = {"self": now.changed, "orig": label.changed}
        draws[metric] = {who: _macro_f1(sums, said, truth, mask) for who, truth in truths.items()}
        where[metric] = mask
    draws["content_match_moved"] = {who: _share(sums, hit, halves[0]) for who, hit in content.items()}
    draws["content_match_balanced"] = {
        who: (_share(sums, hit, halves[0]) + _share(sums, hit, halves[1])) / 2 for who, hit in content.items()
    }
    where |= {"content_match_moved": halves[0], "content_match_balanced": moved}
    testable = min(int(half.sum()) for half in halves) >= TESTABLE and len(set(units[moved])) >= TESTABLE_UNITS

    agreement = float(agree.mean()) if len(agree) else float("nan")
    shared: dict[str, Any] = {"n_groups": resamples.n_groups, "target_current": _number(agreement), "seeds": 1}
    out = {}
    for metric in METRICS:
        own = draws[metric]
        own["gap"] = own["self"] - own["orig"]
        if metric == HEADLINE:
            balanced = draws["content_match_balanced"]
            own["counterfactual_gap"] = balanced["self"] - balanced["orig"]
            own["change_tracking"] = _tracking(sums, said.parsed & said.edited_is_a, now, label)
            if stale is not None:
                right = stale.parsed & (stale.edited_is_a == now.edited) & (stale.changed == now.changed)
                own["self_minus_stale"] = own["self"] - _share(sums, right, everywhere)
        values = shared | {"metric": metric, "n": int(where[metric].sum()), "testable": testable}
        out[metric] = _score(values, own, confidence)
    for name, (mine, other) in _counts(said, now, label, agree, agree_content).items():
        own = {"self": _share(sums, mine, everywhere)}
        if other is not None:
            own["orig"] = _share(sums, other, everywhere)
        out[name] = _score(shared | {"metric": name, "n": len(agree)}, own, confidence)
    return out


def null(
    said: Said, now: Answers, label: Answers, units: np.ndarray, shuffles: int, seed: int, confidence: float = 0.95
) -> Null:
    """Bands of the same explanations put in each other's place, in blocks of units: who says just as much, just as
    often, but does not know of which example."""
    places = shuffled_targets(np.arange(len(units)), units, shuffles, seed).astype(int)
    content = {"self": now.edited[:, None], "orig": label.edited[:, None]}
    flag = {"self": now.changed[:, None], "orig": label.changed[:, None]}
    parsed, edited, changed = said.parsed[places], said.edited_is_a[places], said.changed[places]
    right = {who: parsed & (edited == content[who]) for who in content}
    exact = {who: (right[who] & (changed == flag[who])).mean(axis=0) for who in content}
    moved = now.edited != label.edited
    halves = (moved & now.changed, moved & ~now.changed)
    unseen = np.full(shuffles, np.nan)
    if all(half.any() for half in halves):
        unseen = np.mean([right["self"][h].mean(axis=0) - right["orig"][h].mean(axis=0) for h in halves], axis=0)
    says_a = (parsed & edited).astype(np.float64)
    top = bottom = np.zeros(shuffles)
    for stratum in _strata(now, label):
        a, b = stratum & now.edited, stratum & ~now.edited
        if a.any() and b.any():
            weight = a.sum() * b.sum() / stratum.sum()
            top = top + weight * (says_a[a].mean(axis=0) - says_a[b].mean(axis=0))
            bottom = bottom + weight
    all_of = exact | {"gap": exact["self"] - exact["orig"], "counterfactual_gap": unseen}
    all_of["change_tracking"] = _divide(top, bottom)
    bands = {}
    for name, values in all_of.items():
        low, high = interval(values, confidence)
        error = float(values.std(ddof=1) / np.sqrt(shuffles))
        bands[name] = Band(float(values.mean()), error, float(low), float(high))
    return Null(bands, shuffles)


def _counts(
    said: Said, now: Answers, label: Answers, agree: np.ndarray, agree_content: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    kinds = np.where(said.parsed, 2 * said.edited_is_a + said.changed, 4)
    commonest = np.bincount(kinds, minlength=5).argmax() if len(kinds) else 0
    return {
        "label_agreement": (agree, None),
        "content_agreement": (agree_content, None),
        "parse_rate": (said.parsed, None),
        "has_changed_rate": (now.changed, label.changed),
        "said_changed_rate": (said.parsed & said.changed, None),
        "majority": (kinds == commonest, None),
    }


def _score(values: dict[str, Any], own: dict[str, np.ndarray], confidence: float) -> Score:
    """Numbers and intervals of draws [1 + draws] whose first is the sample."""
    for name, all_draws in own.items():
        low, high = interval(all_draws[1:], confidence)
        values |= {name: _number(all_draws[0]), f"{name}_low": _number(low), f"{name}_high": _number(high)}
    return Score(values, {name: all_draws[1:] for name, all_draws in own.items()})


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _weigher(resamples: Resamples) -> Weigh:
    def sums(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        return np.concatenate([values.sum(axis=0, keepdims=True), resamples.sums(values)])

    return sums


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _share(sums: Weigh, hit: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Weighted share of hits among the masked rows, [1 + draws]; NaN where a draw has none of them."""
    both = sums(np.stack([hit & mask, mask], axis=1))
    return _divide(both[:, 0], both[:, 1])


def _tracking(sums: Weigh, says_a: np.ndarray, now: Answers, label: Answers) -> np.ndarray:
    """How far "a" follows the answer to x' given the label and the present answer: a mean over strata, [1 + draws]."""
    top, bottom = np.zeros(1), np.zeros(1)
    for stratum in _strata(now, label):
        a, b = stratum & now.edited, stratum & ~now.edited
        both = sums(np.stack([says_a & a, a, says_a & b, b], axis=1))
        weight = _divide(both[:, 1] * both[:, 3], both[:, 1] + both[:, 3])
        difference = _divide(both[:, 0], both[:, 1]) - _divide(both[:, 2], both[:, 3])
        top = top + np.where(weight > 0, weight * difference, 0.0)
        bottom = bottom + np.where(weight > 0, weight, 0.0)
    return _divide(top, bottom)


def _strata(now: Answers, label: Answers) -> list[np.ndarray]:
    return [(label.edited == content) & (now.x == present) for content in (True, False) for present in (True, False)]


def _macro_f1(sums: Weigh, said: Said, truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean F1 of the classes that occur among the truths or what is said, [1 + draws]; not parsed is neither class."""
    scores = []
    for wanted in (True, False):
        is_said, is_true = said.parsed & (said.changed == wanted) & mask, (truth == wanted) & mask
        both = sums(np.stack([is_said & is_true, is_said, is_true], axis=1))
        scores.append(_divide(2 * both[:, 0], both[:, 1] + both[:, 2]))
    stacked = np.stack(scores)
    known = ~np.isnan(stacked)
    return _divide(np.where(known, stacked, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))


def warnings(scores: dict[str, Score]) -> list[str]:
    """What a reader must know before believing the numbers, in words."""
    out = []
    if scores["majority"]["self"] >= COLLAPSED:
        out.append(f"collapsed: {scores['majority']['self']:.0%} of the explanations say the same")
    rate = scores["has_changed_rate"]["self"]
    if not 0.4 <= rate <= 0.6:
        out.append(f"unbalanced: the answer changes in {rate:.0%} of the examples")
    if scores["parse_rate"]["self"] < 0.9:
        out.append(f"{1 - scores['parse_rate']['self']:.0%} of the explanations can't be parsed, and count as wrong")
    return out
