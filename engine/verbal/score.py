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

`unseen` belongs to the exact match. Among examples with the same label, the same present answer and a like |f_0(x')|,
how much more often is "a" said where the answer to x' is now a than where it is b (strata weighted as by Mantel and
Haenszel)? It is 0 for a repetition of the labels, for sentences that depend on the present answer alone, for
contradicting the labels, and for guessing; 1 for sentences that know the unseen answer. `unseen_over_stale` is that
minus the same of `text_only`, paired; `unseen_over_outputs` is `unseen` among examples whose entity's other prompts
have like answers too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.stats.bootstrap import Resamples, interval
from engine.stats.faithfulness import Null, Score, band_of
from engine.stats.noise import shuffled_targets
from engine.tasks import Wording
from engine.verbal.labels import Answers

HEADLINE = "exact_match"
LEAST_PAIRS = 20
"""Examples that must have one with another answer to x' in their stratum."""
LEAST_UNITS = 8
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


@dataclass(frozen=True)
class Strata:
    """Strata [n] of examples among which what can be read is alike: codes from 0."""

    own: np.ndarray
    """By the label, the present answer, and quartiles of |f_0(x')|."""
    outputs: np.ndarray | None = None
    """By terciles of the entity's other answers too; None where the data have no entities."""


def strata(now: Answers, label: Answers, sure: np.ndarray, others: np.ndarray | None = None) -> Strata:
    """sure [n]: |f_0(x')|. others [n]: share of a among the present answers to the entity's other prompts."""
    own = 8 * label.edited + 4 * now.x + _quantile(sure, 4)
    return Strata(own, None if others is None else 3 * own + _quantile(others, 3))


def _quantile(values: np.ndarray, parts: int) -> np.ndarray:
    return np.digitize(values, np.quantile(values, np.arange(1, parts) / parts))


def score_words(
    said: Said,
    now: Answers,
    label: Answers,
    resamples: Resamples,
    *,
    among: Strata | None = None,
    units: np.ndarray | None = None,
    stale: Said | None = None,
    text_only: Said | None = None,
    confidence: float = 0.95,
) -> dict[str, Score]:
    """Metric → its Score, HEADLINE first, then the shares of `_counts`.

    now, label: behavior of the current and of the target model. among: see `strata` (default: by label and present
    answer). units [n]: the entity of each example (default: each its own). stale: what the same explainer said when its
    training on labels ended (labels first, drift after). text_only: what that control says, for `unseen_over_stale`.
    """

    def sums(values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        return np.concatenate([values.sum(axis=0, keepdims=True), resamples.sums(values)])

    units = np.arange(len(now.x)) if units is None else units
    among = among or strata(now, label, np.zeros(len(now.x)))
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
    if stale is not None:
        draws[HEADLINE]["self_minus_stale"] = draws[HEADLINE]["self"] - _share(sums, stale.right(now)[1], everywhere)
    why_not = _why_not(now, among.own, len(set(units[moved])))
    why_not_outputs: str | None = why_not or "the data have no entities"
    if why_not is None:
        draws[HEADLINE] |= _unseen(sums, said, text_only, now, among.own)
    if among.outputs is not None:
        why_not_outputs = _why_not(now, among.outputs, len(set(units[moved])))
        if why_not_outputs is None:
            draws[HEADLINE]["unseen_over_outputs"] = _follows(sums, said, now, among.outputs)

    counts = _counts(said, now, label)
    agreement = float(counts["label_agreement"][0].mean())
    shared: dict[str, Any] = {"n_groups": resamples.n_groups, "target_current": agreement, "seeds": 1}
    shared |= {"why_not": why_not, "why_not_outputs": why_not_outputs}
    out = {}
    for metric, mask in where.items():
        out[metric] = _score(shared | {"metric": metric, "n": int(mask.sum())}, draws[metric], confidence)
    for name, shares in counts.items():
        own = {who: _share(sums, hit, everywhere) for who, hit in zip(("self", "orig"), shares, strict=False)}
        out[name] = _score(shared | {"metric": name, "n": len(now.x)}, own, confidence)
    return out


def _why_not(now: Answers, codes: np.ndarray, units: int) -> str | None:
    """Why nothing can be said of the unseen answers; None if it can."""
    a, b = (np.bincount(codes[side], minlength=codes.max(initial=0) + 1) for side in (now.edited, ~now.edited))
    pairs = int(np.minimum(a, b).sum())
    if pairs < LEAST_PAIRS:
        return f"among like examples, {pairs} differ in the answer to x'; at least {LEAST_PAIRS} are needed"
    if units < LEAST_UNITS:
        return f"the answer to x' has moved for {units} entities; at least {LEAST_UNITS} are needed"
    return None


def _unseen(sums: Weigh, said: Said, text_only: Said | None, now: Answers, codes: np.ndarray) -> Draws:
    own = _follows(sums, said, now, codes)
    if text_only is None:
        return {"unseen": own}
    return {"unseen": own, "unseen_over_stale": own - _follows(sums, text_only, now, codes)}


def null_of_words(
    said: Said,
    now: Answers,
    label: Answers,
    units: np.ndarray,
    shuffles: int,
    seed: int,
    confidence: float,
    among: Strata | None = None,
) -> Null:
    """Statistics of the same explanations exchanged between examples, in blocks of units: an explainer that says the
    same things as often, but does not know about which example."""
    places = shuffled_targets(np.arange(len(units)), units, shuffles, seed).astype(int)
    moved = said.take(places.T)  # [shuffles, n]
    exact, exact_orig = moved.right(now)[1], moved.right(label)[1]
    own, orig = exact.mean(axis=1), exact_orig.mean(axis=1)
    among = among or strata(now, label, np.zeros(len(now.x)))
    says_a = (moved.parsed & moved.edited_is_a).T.astype(np.float64)  # [n, shuffles]
    inside = np.eye(among.own.max(initial=0) + 1)[among.own]  # [n, strata]
    a, b = (inside * side[:, None] for side in (now.edited, ~now.edited))
    unseen = _haenszel((a.T @ says_a, a.sum(axis=0)[:, None]), (b.T @ says_a, b.sum(axis=0)[:, None]), axis=0)
    if _why_not(now, among.own, len(set(units[now.edited != label.edited]))):
        unseen = np.full(shuffles, np.nan)
    statistics = {"self": own, "orig": orig, "gap": own - orig, "unseen": unseen}
    return Null(statistics, {name: band_of(values, confidence) for name, values in statistics.items()})


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


def _follows(sums: Weigh, said: Said, now: Answers, codes: np.ndarray) -> np.ndarray:
    """How much more often "a" is said where the answer to x' is a than where it is b, [1 + draws]."""
    says_a = (said.parsed & said.edited_is_a)[:, None]
    inside = np.eye(codes.max(initial=0) + 1, dtype=bool)[codes]
    a, b = (inside & side[:, None] for side in (now.edited, ~now.edited))
    return _haenszel((sums(a & says_a), sums(a)), (sums(b & says_a), sums(b)), axis=1)


def _haenszel(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray], axis: int) -> np.ndarray:
    """Difference of two shares (hits, of how many) over strata along `axis`, weighted as by Mantel and Haenszel."""
    hits_a, all_a, hits_b, all_b = np.broadcast_arrays(*a, *b)
    weight = _divide(all_a * all_b, all_a + all_b)
    difference = weight * (_divide(hits_a, all_a) - _divide(hits_b, all_b))
    known = ~np.isnan(difference)
    total = np.where(known, weight, 0.0).sum(axis=axis)
    return _divide(np.where(known, difference, 0.0).sum(axis=axis), total)


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
