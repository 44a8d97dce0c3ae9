"""The step with five hand-built explainers: the numbers tell the honest one, and which measures the others fool."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dashboard.lesson import measures, words, zoo
from dashboard.reading.agreement import Estimate
from engine.zoo.drawn import draw
from engine.zoo.lookalikes import ZOO


@pytest.fixture(scope="module")
def found() -> zoo.Cages:
    current, target, design = draw(np.random.default_rng(0), 600)
    columns = {"group": design.groups, "cue": design.cue, "entity": design.entity}
    for who, of in (("target", target), ("current", current)):
        columns |= {f"f_{who}": of.f, f"f_edited_{who}": of.f_edited}
    rows = pd.DataFrame(columns)
    return zoo.scored(rows, measures.weights_of(rows), seed=0)


def test_the_table_names_nobody_and_tells_what_has_no_value(found: zoo.Cages) -> None:
    html = zoo.table(found)
    assert not any(name in html for name in zoo.SHOWN)
    assert html.count("<tr>") == 1 + len(zoo.SHOWN) and "–" in html  # nothing is left of the present output
    assert set(found.of_letter.values()) == set(zoo.SHOWN) <= set(ZOO)
    assert list(found.of_letter.values()) != list(zoo.SHOWN)


def test_only_the_oracle_passes_and_every_other_measure_is_fooled(found: zoo.Cages) -> None:
    reveal = zoo.honest(found)
    assert found.of_letter[reveal.answer] == zoo.HONEST and reveal.as_expected
    lines = {found.of_letter[line[0]]: line for line in zoo.unmasked(found)}
    assert "fools" not in lines["oracle"]
    assert "fools Self and gap." in lines["present output"]
    assert "gap" in lines["contradicting"] and "unseen" not in lines["contradicting"]


def test_data_that_do_not_tell_are_said_not_to(found: zoo.Cages) -> None:
    letter = zoo.honest(found).answer
    wide = found.numbers | {letter: found.numbers[letter] | {"unseen": Estimate(0.2, -0.1, 0.5)}}
    reveal = zoo.honest(replace(found, numbers=wide))
    assert not reveal.as_expected and "none of the five" in reveal.sentence
    assert words.signed(Estimate(0.2, -0.1, 0.5)) in reveal.sentence
