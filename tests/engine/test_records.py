"""The table of examples: what is in it does not depend on how it is made, and making it takes little memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from engine import records
from engine.records import META, Example, examples_table


def examples(n: int) -> Iterator[Example]:
    """Two edits a prompt, every fifth example twice, and metadata that not all of them have."""
    for i in range(n):
        for _ in range(2 if i % 5 == 0 else 1):
            yield Example(
                task="t",
                prompt=f"Is it {i // 2}?",
                edited=f"Is it {i}, then?",
                edit="replace",
                spans=((0, 2), (3, 4)),
                edited_spans=() if i % 3 else ((0, 2),),
                answer_a=" yes",
                answer_b=" no",
                group=str(i),
                split="train",
                metadata={"late": str(i)} if i > n // 2 else {"early": "x"} if i else {},
            )


@pytest.mark.parametrize("block", [1, 7, 20])
def test_the_table_is_the_same_however_many_blocks_it_is_made_in(block, monkeypatch):
    whole = examples_table(examples(20))
    assert whole.num_rows == 20
    assert whole["prompt_id"].to_pylist() == [i // 2 for i in range(20)]
    assert whole.column_names[-2:] == [META + "early", META + "late"]
    assert whole[META + "late"].to_pylist() == [None] * 11 + [str(i) for i in range(11, 20)]
    monkeypatch.setattr(records, "BLOCK", block)
    made = examples_table(examples(20))
    assert made.equals(whole)
    assert made["prompt"].num_chunks == 1


def test_no_examples_are_an_empty_table():
    assert examples_table(()).equals(records.EXAMPLES.empty_table())


def test_rows_do_not_stay_python_objects(monkeypatch):
    monkeypatch.setattr(records, "BLOCK", 100)
    tracemalloc.start()
    try:
        examples_table(examples(4000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4000 * 1000, "bytes: a row as a dict takes more than twice as many"
