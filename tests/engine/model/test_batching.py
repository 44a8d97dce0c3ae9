"""The plan of a measurement: which rows share a prefix, how they are batched, and that every row is scored once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from engine.model.batching import (
    LEAST_SHARED,
    SLACK_SHARE,
    SLACK_TOKENS,
    Batch,
    Limits,
    Piece,
    Row,
    Text,
    batches,
    common_prefix,
    distinct_rows,
    full_plan,
    prefixes,
    row_tails,
    shared_plan,
)

YES_NO = ((1,), (2,))
WIDE = Limits(10_000)


def every_batch(plan: list[Batch]) -> Iterator[Batch]:
    for batch in plan:
        yield batch
        yield from every_batch(list(batch.continued_by))


def drawn_groups(seed: int, answers=((1, 2), (3, 4)), heads: Sequence[int] = (0, 0)) -> list[list[Text]]:
    """Four originals, each with five texts in which one token is replaced. All begin with the same heads[0] tokens, and
    half of them go on with the same heads[1] tokens."""
    rng = np.random.default_rng(seed)
    first, second = (rng.integers(5, 90, length).tolist() for length in heads)
    groups = []
    for number, length in enumerate((9, 14, 11, 12)):
        x = [*first, *(second if number % 2 else ()), *rng.integers(5, 90, length).tolist()]
        edited = [[*x[:at], 99, *x[at + 1 :]] for at in rng.integers(0, len(x), 5)]
        groups.append([Text(tuple(row), answers, ((len(row) - 1,),)) for row in (x, *edited)])
    return groups


def test_a_row_serves_every_answer_that_its_tail_begins_with():
    assert row_tails(YES_NO) == [()]
    assert row_tails(((1, 2, 3), (1, 2))) == [(1, 2)]
    assert row_tails(((1, 2), (3, 4))) == [(1,), (3,)]
    (row,) = distinct_rows([[Text((5, 6), ((1, 2, 3), (1, 2)), ((0, 1),))]])
    assert row.tokens == (5, 6, 1, 2) and row.first_needed() == 0
    assert row.asks == [(1, 1, 0, 0), (2, 2, 0, 0), (3, 3, 0, 0), (1, 1, 0, 1), (2, 2, 0, 1)]


def test_equal_texts_are_one_row_and_parents_are_the_originals():
    x, edited = Text((5, 6, 7), YES_NO), Text((5, 6, 8), YES_NO)
    rows = distinct_rows([[x, edited, x], [edited, x]])
    assert [row.tokens for row in rows] == [x.prompt, edited.prompt]
    assert [row.parent for row in rows] == [-1, -1], "the second group has the edited text as its original"
    assert len(rows[0].asks) == 6 and common_prefix(x.prompt, edited.prompt) == 2


@pytest.mark.parametrize("deep", [1, 2, 3, 4])
@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("limits", [WIDE, Limits(30), Limits(60, 4), Limits(60, 4, logits_everywhere=True)])
def test_every_row_is_scored_once_from_a_prefix_that_it_has_and_that_holds_no_result(deep, rescore, limits):
    deepest = 0
    for seed in range(5):
        rows = distinct_rows(drawn_groups(seed, heads=(20, 9)))
        plan = shared_plan(rows, limits, deep=deep, rescore=rescore)
        scored = [piece.row for batch in every_batch(plan) for piece in batch.pieces if piece.scored]
        assert sorted(scored) == list(range(len(rows)))
        for batch in every_batch(plan):
            for after in batch.continued_by:
                for piece, place in zip(after.pieces, after.owners, strict=True):
                    row, owner = rows[piece.row], batch.pieces[place]
                    assert owner.row == piece.owner and owner.start < piece.start <= row.first_needed()
                    assert row.tokens[: piece.start] == rows[owner.row].tokens[: piece.start]
                    assert piece.length == len(row.tokens) - piece.start > 0
                    assert piece.row == piece.owner or piece.stretches[:-1] == owner.stretches
        deepest = max(deepest, depth(plan))
    assert deepest == deep, "two heads, originals, edited texts and their second answers continue one another"


def depth(plan: Sequence[Batch]) -> int:
    """The longest chain of batches, each of which continues the one before."""
    return max((1 + depth(batch.continued_by) for batch in plan if batch.continued_by), default=0)


def computed(plan: Sequence[Batch]) -> int:
    """Tokens that a plan computes, without padding."""
    return sum(piece.length for batch in every_batch(list(plan)) for piece in batch.pieces)


def nodes(rows: Sequence[Row]) -> int:
    """Nodes of the tree of all rows: the fewest tokens that any plan computes."""
    return len({row.tokens[:n] for row in rows for n in range(1, len(row.tokens) + 1)})


def test_low_precision_scores_originals_and_edited_texts_from_prefixes():
    rows = distinct_rows(drawn_groups(0, YES_NO))
    plain, low = (shared_plan(rows, WIDE, deep=2, rescore=rescore) for rescore in (False, True))
    assert all(piece.scored for batch in every_batch(plain) for piece in batch.pieces)
    unscored = [piece.row for batch in every_batch(low) for piece in batch.pieces if not piece.scored]
    again = [p.row for batch in every_batch(low) for p in batch.pieces if p.row == p.owner]
    assert sorted(unscored) == sorted(again) and unscored


def test_rows_beyond_the_rotary_limit_are_batched_apart():
    rows = distinct_rows(drawn_groups(1, YES_NO))
    beyond = lambda length: length > 11  # noqa: E731
    sides = lambda *kind: [len({beyond(p.length) for p in batch.pieces}) for batch in full_plan(rows, WIDE, *kind)]  # noqa: E731
    assert max(sides()) == 2 and max(sides(beyond)) == 1


@pytest.mark.parametrize("limits", [Limits(64), Limits(2000, 20), Limits(2000)])
def test_batches_keep_their_limits_with_little_padding(limits):
    rng = np.random.default_rng(2)
    pieces = [Piece(i, (), -1, int(n), int(k)) for i, (n, k) in enumerate(rng.integers(1, 9, (200, 2)) * [7, 1])]
    cut = list(batches(pieces, limits))
    assert sorted(piece.row for batch in cut for piece in batch) == list(range(200))
    for batch in cut:
        padded = len(batch) * batch[0].length
        assert len(batch) == 1 or padded <= limits.tokens
        assert padded - sum(p.length for p in batch) <= max(SLACK_TOKENS, SLACK_SHARE * padded)
        assert not limits.logits or len(batch) * max(p.logits for p in batch) <= limits.logits


def test_long_prefixes_make_smaller_batches():
    cuts = {"short": [(1,)], "long": [(900,)], "apart": [(450, 450), (1, 899)]}
    pieces = {name: [Piece(i, some[i % len(some)], 0, 1) for i in range(100)] for name, some in cuts.items()}
    short, long, apart = (len(list(batches(some, Limits(1000)))) for some in pieces.values())
    assert short < long < apart, "each stretch has as many columns as its longest part"


def test_originals_that_begin_alike_continue_the_first_of_them():
    head, inner = tuple(range(10, 40)), tuple(range(50, 70))
    texts = [(*head, 1, 2, 3), (*head, *inner, 4, 5), (*head, *inner, 6, 7, 8), (*head, 9, 9), (8, 8, 8)]
    rows = distinct_rows([[Text(text, YES_NO)] for text in texts])
    reused = lambda *deep: [(prefix.owner, prefix.start) for prefix in prefixes(rows, *deep)]  # noqa: E731
    assert reused() == [(-1, 0), (0, 30), (1, 50), (0, 30), (-1, 0)]
    assert reused(1) == [(-1, 0), (0, 30), (0, 30), (0, 30), (-1, 0)]
    assert reused(0) == 5 * [(-1, 0)]
    assert computed(shared_plan(rows, WIDE, rescore=False)) == 33 + 22 + 3 + 2 + 3 == nodes(rows)
    assert computed(shared_plan(rows, WIDE, rescore=False, across=False)) == sum(map(len, texts))


def test_an_edit_within_the_head_is_computed_once_for_all_prompts():
    """The same system prompt in front of all prompts is replaced by the same other one."""
    system, other = tuple(range(10, 40)), tuple(range(50, 90))
    rows = distinct_rows([[Text((*head, n, n + 1, n), YES_NO) for head in (system, other)] for n in range(100, 130)])
    assert computed(shared_plan(rows, WIDE, rescore=False)) == nodes(rows) == 70 + 30 * 6


@pytest.mark.parametrize("deep", [1, 2, 4])
def test_sharing_across_prompts_only_saves_and_misses_little(deep):
    rng = np.random.default_rng(3)
    for _ in range(20):
        texts = [rng.integers(0, 2, rng.integers(20, 60)).cumsum() for _ in range(30)]
        edited = [[np.delete(text, rng.integers(1, len(text))) for _ in range(rng.integers(3))] for text in texts]
        groups = [[Text(tuple(t.tolist()), YES_NO) for t in (x, *e)] for x, e in zip(texts, edited, strict=True)]
        rows = distinct_rows(groups)
        own, both = (computed(shared_plan(rows, WIDE, rescore=False, deep=deep, across=a)) for a in (False, True))
        assert nodes(rows) <= both <= own + LEAST_SHARED * len(rows)
        for row, prefix in zip(rows, prefixes(rows, 100), strict=True):
            # Deep enough, only a few tokens for each row of the tree are computed again.
            seen = {other.tokens[:n] for other in rows[: rows.index(row)] for n in range(len(other.tokens) + 1)}
            longest = max(n for n in range(row.first_needed() + 1) if row.tokens[:n] in seen or not n)
            assert longest - LEAST_SHARED < prefix.start <= longest


def test_low_precision_rescores_a_row_for_its_own_edited_texts_only():
    """A prompt that shares only its first tokens with another does not make that one run twice."""
    head = tuple(range(10, 20))
    one, other = (*head, *range(30, 70)), (*head, *range(80, 120))
    rows = distinct_rows([[Text(t, YES_NO) for t in (x, (*x[:45], 9, *x[46:]))] for x in (one, other)])
    plan = shared_plan(rows, WIDE, rescore=True)
    assert [p.start for b in every_batch(plan) for p in b.pieces if p.row == p.owner] == [45]
    assert computed(plan) == 50 + 5 + 40 + 5 + 5
