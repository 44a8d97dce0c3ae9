"""The effect split into its two outputs: identities with the numbers that pages show beside it."""

import pandas as pd
import pytest

from dashboard.correlation.halves import LABELS, halves
from dashboard.reading import agreement
from tests.dashboard.reading.test_agreement import rows as some_rows


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return some_rows(300)


def test_the_first_line_is_the_gap(rows: pd.DataFrame) -> None:
    found, known = halves(rows), agreement.agreement(rows)
    assert list(found) == list(LABELS)
    effect = found["effect"]
    assert effect.current == known.self
    assert effect.target == known.orig
    assert effect.difference == known.gap
    assert effect.null_current == pytest.approx(known.null)


def test_an_explanation_that_reads_the_output_goes_with_that_half_only(rows: pd.DataFrame) -> None:
    found = halves(rows.assign(explanation=-rows["f_current"]))
    assert found["f"].current.value == pytest.approx(1)
    assert abs(found["f_edited"].current.value) < 0.2
    turned = found["f"].turned()
    assert turned.current.value == pytest.approx(-1)
    assert turned.null_current[0] <= turned.null_current[1]


def test_values_are_plain_correlations(rows: pd.DataFrame) -> None:
    found = halves(rows)
    assert found["f_edited"].target.value == pytest.approx(rows["explanation"].corr(rows["f_edited_target"]))
    assert halves(rows.head(2)) == {}
    alone = halves(rows.assign(group="one"))
    assert alone["effect"].null_current == (None, None)
