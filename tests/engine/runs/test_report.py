"""The report of a run: its tables, and what its columns mean."""

from __future__ import annotations

import json

import pytest

from engine.records import MEANING, METRICS
from engine.runs import report
from tests.engine.test_pipeline import call


def test_every_column_has_a_meaning_and_every_meaning_a_column() -> None:
    assert set(MEANING) == set(METRICS.names)
    assert all(meaning.strip() for meaning in MEANING.values())


def test_the_schema_is_printed_as_json(capsys: pytest.CaptureFixture) -> None:
    code, out, _ = call(capsys, "report", "--schema")
    assert code == 0
    columns = json.loads(out)
    assert [c["column"] for c in columns] == METRICS.names
    assert {c["column"]: c["type"] for c in columns}["unseen"] == "float"
    assert {c["column"]: c["meaning"] for c in columns} == MEANING


def test_a_run_or_the_schema_is_asked_for_and_not_both(capsys: pytest.CaptureFixture) -> None:
    for given in ([], ["run", "--schema"], ["--json"]):
        code, out, error = call(capsys, "report", *given)
        assert (code, out) == (2, "") and "give the folder of a run, or --schema" in error, given


@pytest.mark.parametrize(
    ("row", "cell"),
    [
        ({"verdict_unseen": "not shown", "power_unseen": 0.449}, "not shown (power 0.45)"),
        ({"verdict_unseen": "not shown", "power_unseen": None}, "not shown"),
        ({"verdict_unseen": "shown", "power_unseen": 0.9}, "shown"),
        ({"verdict_unseen": None}, "–"),
        ({}, "–"),
    ],
)
def test_a_verdict_that_is_not_shown_stands_with_its_power(row: dict, cell: str) -> None:
    assert report.CELLS["verdict (unseen)"](row) == cell


def test_a_statistic_that_was_not_measured_is_a_dash() -> None:
    assert report.CELLS["over stale"]({}) == "–"
    row = {"unseen_over_stale": 0.25, "unseen_over_stale_low": 0.1, "unseen_over_stale_high": 0.4}
    assert report.CELLS["over stale"](row) == "+0.25 [+0.10, +0.40]"
    assert report.CELLS["over stale"](row | {"unseen_over_stale_low": None}) == "+0.25"


def test_tables_have_a_column_for_each_statistic_and_verdict() -> None:
    assert set(report.PROBE) | set(report.VERBAL) == set(report.CELLS)
