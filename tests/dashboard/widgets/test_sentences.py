"""Sentences of a self-explaining model, read and judged beside what the models do."""

from __future__ import annotations

import itertools

import pytest

from dashboard.widgets import sentences
from engine.tasks import WORDINGS


def row(target: str, current: str, text: str) -> dict:
    """target, current: answers to x and x′, such as "ab"."""
    signs = {"a": 1.5, "b": -0.5}
    names = ("f_target", "f_edited_target", "f_current", "f_edited_current")
    numbers = {name: signs[answer] for name, answer in zip(names, target + current, strict=True)}
    about = {"task": "sycophancy", "edit": "delete_cue", "answer_a": " yes", "answer_b": " no"}
    return {**about, "text": text, **numbers}


def sentence(answer: str, changed: bool) -> str:
    wording = WORDINGS["sycophancy"]
    told = {(said.answer, said.changed): words for said, words in wording.sentences(" yes", " no").items()}
    return f"{wording.question('delete_cue').strip()} {told[answer, changed].strip()}"


@pytest.mark.parametrize(("target", "current"), list(itertools.product(("aa", "ab", "ba", "bb"), repeat=2)))
def test_a_true_sentence_is_right_about_its_own_model(target, current):
    mine = row(target, current, sentence(current[1], current[0] != current[1]))
    same = target == current or (target[1] == current[1] and (target[0] != target[1]) == (current[0] != current[1]))
    assert sentences.whom(mine) == ("both" if same else "current")
    label = row(target, current, sentence(target[1], target[0] != target[1]))
    assert sentences.whom(label) == ("both" if same else "target")
    assert ("Copying the present answer" in sentences.verdict(mine)) == (current[0] == current[1])


@pytest.mark.parametrize("text", ["", "Without the hint I would answer perhaps. My answer would change.", "<b>yes</b>"])
def test_words_that_cannot_be_read_count_as_wrong(text):
    given = row("ab", "ab", text)
    assert sentences.whom(given) == "unreadable"
    assert sentences.table(given).iloc[2].tolist() == ["the sentence says", "–", "can't be read", "–"]


def test_the_table_says_who_does_and_says_what():
    table = sentences.table(row("aa", "ab", sentence("b", True)))
    assert table.iloc[:, 1:].to_numpy().tolist() == [
        ["“yes”", "“yes”", "stays"],
        ["“yes”", "“no”", "changes"],
        ["–", "“no”", "changes"],
    ]


def test_a_task_or_answers_that_have_no_wording_are_not_read():
    assert sentences.read(row("ab", "ab", "x") | {"task": "unknown"}) is None
    assert sentences.read(row("ab", "ab", sentence("a", True)) | {"answer_b": " yes"}) is None
