"""Explanations in words: the parser is the inverse of the templates, and takes nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tasks import FACTORS, TASKS, WORDINGS, Wording
from engine.tasks.wording import Statement

EVERY = [Statement(answer, changed) for answer in "ab" for changed in (False, True)]
answer = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20).filter(
    str.strip
)


@pytest.mark.parametrize("task", WORDINGS)
@pytest.mark.parametrize("meant", EVERY)
def test_a_sentence_is_read_as_it_was_meant(task: str, meant: Statement) -> None:
    wording = WORDINGS[task]
    sentence = wording.sentences(" yes", " no")[meant]
    assert sentence.startswith(" ")
    assert wording.parse(sentence, " yes", " no") == meant
    assert wording.parse(sentence.strip() + "\nand more", " yes", " no") == meant


@given(answer, answer)
def test_any_two_answers_are_told_apart_or_refused(a: str, b: str) -> None:
    wording = Wording()
    if " ".join(a.split()) == " ".join(b.split()):
        with pytest.raises(ValueError, match="both read"):
            wording.sentences(a, b)
        return
    sentences = wording.sentences(a, b)
    assert len(set(sentences.values())) == 4
    assert {wording.parse(text, a, b) for text in sentences.values()} == set(EVERY)


OTHER = """
no|no.|no. My answer would|no. My answer would change|maybe. My answer would change.
no. My answer would not change. Or would it?|My answer would change.|No. My answer would change.
""".replace("\n", "|")


@pytest.mark.parametrize("said", ["\n", *OTHER.split("|")])
def test_anything_else_is_not_parsed(said: str) -> None:
    assert WORDINGS["sycophancy"].parse(said, " yes", " no") is None


def test_every_task_has_words_and_every_edit_a_question() -> None:
    assert set(WORDINGS) == set(TASKS)
    for task, factors in FACTORS.items():
        wording = WORDINGS[task]
        assert set(wording.questions) == set(factors.edits)
        assert len({wording.question(edit) for edit in factors.edits}) == len(factors.edits)
    assert WORDINGS["from_file"].question("anything") == Wording().other
    assert "refuse" in WORDINGS["refusal"].sentences(" I am sorry.", " Sure.")[Statement("a", True)]
