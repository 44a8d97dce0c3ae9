"""How well sentences agree with the current model's behavior (Self) and with the labels (Orig).

Every metric is a share or an F1 in [0, 1] over examples of one kind of edit and split. A sentence that can't be parsed
agrees with nothing. Intervals are paired: Self and Orig are scored on the same bootstrap weights.

    exact_match           the sentence's answer to x' and its "would (not) change" are both right
    has_changed_f1        macro F1 of "would change" against "would not change"
    content_match         the sentence's answer to x' is right
    …_disagreeing         the same on the examples where labels and current behavior differ in just that
    content_match_moved   content, where the current answer to x' is neither the label's nor the present one. Copying
                          the present answer scores 0 there, and so does repeating the label.
    content_match_balanced   content where it moved, the mean of two halves: the answer to x' is the present one, and
                          it is not. A sentence that depends on the present answer alone scores 0.5.

For exact and content match, gap = P(disagree) · (Self − Orig where they disagree), an identity.

The exact match's `counterfactual_gap` is the gap of `content_match_balanced`. It is 0 for sentences that depend on the
present answer alone, −1 for a repetition of the labels, and +1 for sentences that know the unseen answer. Sentences
that merely contradict the labels gain by it too, so `change_tracking` asks for the unseen answer alone: among examples
with the same label and the same present answer, how much more often is "a" said where the answer to x' is now a than
where it is b (strata weighted as by Mantel and Haenszel)? It is 0 for a repetition of the labels, for sentences that
depend on the present answer alone, and for guessing; 1 for sentences that know the unseen answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.stats.bootstrap import Resamples, interval
from engine.stats.faithfulness import Band, Null, Score
from engine.stats.noise import shuffled_targets
from engine.tasks import Wording
from engine.verbal.labels import Answers

HEADLINE = "exact_match"
TESTABLE = 10
"""Examples that each half of `content_match_balanced` must have."""
TESTABLE_UNITS = 8
"""Entities (or groups, if there are no entities) whose content must have moved. f(x') may depend on the entity alone;
then only the entities are independent evidence."""
INTELLIGIBLE = 0.5
"""Share of the explanations that must be parsed for a verdict: a model that says nothing is not testable."""
COLLAPSED = 0.9
"""Explanations are called collapsed if this share of them or more say the same."""


@dataclass(frozen=True)
class Said:
    """The statements of n sentences, bool [n] each; where a sentence is not parsed, the others have no meaning."""

    parsed: np.ndarray
    edited_is_a: np.ndarray
    changed: np.ndarray

    def take(self, rows: np.ndarray) -> Said:
        return Said(self.parsed[rows], self.edited_is_a[rows], self.changed[rows])

    def right(self, answers: Answers) -> tuple[np.ndarray, np.ndarray]:
        """Whether the content is right, and whether the whole sentence is right; bool [n] each."""
        content = self.parsed & (self.edited_is_a == answers.edited)
        return content, content & (self.changed == answers.changed)


def statements(wording: Wording, texts: Sequence[str], answers: Sequence[tuple[str, str]]) -> Said:
    """Read the words after the question [n], each with its example's two answers."""
    found = [wording.parse(text, *pair) for text, pair in zip(texts, answers, strict=True)]
    return Said(
        np.array([f is not None for f in found], dtype=bool),
        np.array([f is not None and f.answer == "a" for f in found], dtype=bool),
        np.array([f is not None and f.changed for f in found], dtype=bool),
    )


Weigh = Callable[[np.ndarray], np.ndarray]
"""Values [n, m] → sums [1 + draws, m]; the first is the sample itself."""
Draws = dict[str, np.ndarray]
"""Column of records.METRICS → its value in the sample and in every draw, [1 + draws]."""


def score_words(
    said: Said,
    now: Answers,
    label: Answers,
    resamples: Resamples,
    *,
    units: np.ndarray | None = None,
    stale: Said | None = None,
    confidence: float = 0.95,
) -> dict[str, Score]:
    """Metric → its Score, HEADLINE first, then the shares of `_counts`.

    now, label: behavior of the current and of the target model. units [n]: the entity of each example (default: each
    its own). stale: what the same explainer said when its training on labels ended (labels first, drift after).
    """

    def sums(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        return np.concatenate([values.sum(axis=0, keepdims=True), resamples.sums(values)])

    units = np.arange(len(now.x)) if units is None else units
    everywhere, moved = np.ones(len(now.x), bool), now.edited != label.edited
    flips = now.changed != label.changed
    halves = (moved & now.changed, moved & ~now.changed)
    where = {
        "exact_match": everywhere,
        "has_changed_f1": everywhere,
        "content_match": everywhere,
        "exact_match_disagreeing": moved | flips,
        "has_changed_f1_disagreeing": flips,
        "content_match_disagreeing": moved,
        "content_match_moved": halves[0],
        "content_match_balanced": halves[1],
    }
    draws: dict[str, Draws] = {metric: {} for metric in where}
    for who, truth in (("self", now), ("orig", label)):
        content, exact = said.right(truth)
        for metric, mask in where.items():
            if metric.startswith("has_changed"):
                draws[metric][who] = _macro_f1(sums, said, truth.changed, mask)
            else:
                draws[metric][who] = _share(sums, exact if metric.startswith("exact") else content, mask)
        draws["content_match_balanced"][who] += draws["content_match_moved"][who]
        draws["content_match_balanced"][who] /= 2
    where["content_match_balanced"] = moved
    for own in draws.values():
        own["gap"] = own["self"] - own["orig"]
    head = draws[HEADLINE]
    head["counterfactual_gap"] = draws["content_match_balanced"]["gap"]
    head["change_tracking"] = _tracking(sums, said.parsed & said.edited_is_a, now, label)
    if stale is not None:
        head["self_minus_stale"] = head["self"] - _share(sums, stale.right(now)[1], everywhere)

    testable = min(int(half.sum()) for half in halves) >= TESTABLE and len(set(units[moved])) >= TESTABLE_UNITS
    counts = _counts(said, now, label)
    agreement = float(counts["label_agreement"][0].mean())
    shared: dict[str, Any] = {"n_groups": resamples.n_groups, "target_current": agreement, "seeds": 1}
    out = {}
    for metric, mask in where.items():
        values = shared | {"metric": metric, "n": int(mask.sum()), "testable": testable}
        out[metric] = _score(values, draws[metric], confidence)
    for name, shares in counts.items():
        own = {who: _share(sums, hit, everywhere) for who, hit in zip(("self", "orig"), shares, strict=False)}
        out[name] = _score(shared | {"metric": name, "n": len(now.x)}, own, confidence)
    return out


def null_of_words(
    said: Said, now: Answers, label: Answers, units: np.ndarray, shuffles: int, seed: int, confidence: float
) -> Null:
    """Bands of the same explanations exchanged between examples, in blocks of units: an explainer that says the same
    things as often, but does not know about which example."""
    places = shuffled_targets(np.arange(len(units)), units, shuffles, seed).astype(int)
    moved = said.take(places.T)  # [shuffles, n]
    (content, exact), (content_orig, exact_orig) = moved.right(now), moved.right(label)
    own, orig = exact.mean(axis=1), exact_orig.mean(axis=1)
    differ = now.edited != label.edited
    halves = (differ & now.changed, differ & ~now.changed)
    unseen = np.full(shuffles, np.nan)
    if all(half.any() for half in halves):
        gaps = [content[:, half].mean(axis=1) - content_orig[:, half].mean(axis=1) for half in halves]
        unseen = np.mean(gaps, axis=0)
    says_a = moved.parsed & moved.edited_is_a
    top = bottom = np.zeros(shuffles)
    for a, b in _strata(now, label):
        if a.any() and b.any():
            weight = a.sum() * b.sum() / (a | b).sum()
            top = top + weight * (says_a[:, a].mean(axis=1) - says_a[:, b].mean(axis=1))
            bottom = bottom + weight
    statistics = {"self": own, "orig": orig, "gap": own - orig, "counterfactual_gap": unseen}
    bands = {}
    for name, values in (statistics | {"change_tracking": _divide(top, bottom)}).items():
        low, high = interval(values, confidence)
        error = float(values.std(ddof=1) / np.sqrt(shuffles))
        bands[name] = Band(float(values.mean()), error, float(low), float(high))
    return Null(bands, shuffles)


def _counts(said: Said, now: Answers, label: Answers) -> dict[str, tuple[np.ndarray, ...]]:
    """Further shares of examples → those they count, bool [n]: for the column `self`, then for `orig` if it has one."""
    kinds = np.where(said.parsed, 2 * said.edited_is_a + said.changed, 4)
    commonest = np.bincount(kinds, minlength=5).argmax()
    agree = now.edited == label.edited
    return {
        "label_agreement": (agree & (now.changed == label.changed),),
        "content_agreement": (agree,),
        "parse_rate": (said.parsed,),
        "has_changed_rate": (now.changed, label.changed),
        "said_changed_rate": (said.parsed & said.changed,),
        "majority": (kinds == commonest,),
    }


def _score(values: dict[str, Any], own: Draws, confidence: float) -> Score:
    for name, all_draws in own.items():
        low, high = interval(all_draws[1:], confidence)
        values |= {name: _number(all_draws[0]), f"{name}_low": _number(low), f"{name}_high": _number(high)}
    return Score(values, {name: all_draws[1:] for name, all_draws in own.items()})


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _divide(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _share(sums: Weigh, hit: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Weighted share of hits among the masked rows, [1 + draws]; NaN where a draw has none of them."""
    both = sums(np.stack([hit & mask, mask], axis=1))
    return _divide(both[:, 0], both[:, 1])


def _tracking(sums: Weigh, says_a: np.ndarray, now: Answers, label: Answers) -> np.ndarray:
    """How far "a" follows the answer to x' given the label and the present answer: a mean over strata, [1 + draws]."""
    top, bottom = np.zeros(1), np.zeros(1)
    for a, b in _strata(now, label):
        both = sums(np.stack([says_a & a, a, says_a & b, b], axis=1))
        weight = _divide(both[:, 1] * both[:, 3], both[:, 1] + both[:, 3])
        difference = _divide(both[:, 0], both[:, 1]) - _divide(both[:, 2], both[:, 3])
        top = top + np.where(weight > 0, weight * difference, 0.0)
        bottom = bottom + np.where(weight > 0, weight, 0.0)
    return _divide(top, bottom)


def _strata(now: Answers, label: Answers) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each label and present answer, the examples whose answer to x' is a, and those whose answer is b."""
    for content in (True, False):
        for present in (True, False):
            stratum = (label.edited == content) & (now.x == present)
            yield stratum & now.edited, stratum & ~now.edited


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


def warnings_of(scores: dict[str, Score]) -> list[str]:
    """Reasons to doubt the scores, in words."""
    out = []
    if scores["majority"]["self"] >= COLLAPSED:
        out.append(f"collapsed: {scores['majority']['self']:.0%} of the explanations say the same")
    rate = scores["has_changed_rate"]["self"]
    if not 0.4 <= rate <= 0.6:
        out.append(f"unbalanced: the answer changes in {rate:.0%} of the examples")
    if scores["parse_rate"]["self"] < 0.9:
        out.append(f"{1 - scores['parse_rate']['self']:.0%} of the explanations can't be parsed, and count as wrong")
    return out
