"""Words are defined once, and odds read as a person would say them."""

from __future__ import annotations

import pytest

from dashboard.reading.glossary import MEANING, odds, term


@pytest.mark.parametrize(
    ("nats", "said"),
    [(0.0, "1 to 1"), (-2.0, "7.4 to 1"), (0.5, "1.6 to 1"), (4.6, "99 to 1"), (1e9, "more than 1,000 to 1")],
)
def test_odds(nats: float, said: str) -> None:
    assert odds(nats) == said


def test_a_term_has_its_meaning_and_can_be_focused() -> None:
    html = term("gap", "<b>")
    assert MEANING["gap"] in html and "&lt;b&gt;" in html and 'tabindex="0"' in html
    with pytest.raises(KeyError):
        term("gup")
