"""Files as they come: marks, line ends, odd characters, and what is wrong with the bad ones."""

import gzip
import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from engine.config import InputError
from engine.importing.rows import MAX_LINE, Row, Skipped, kind_of, read_rows
from tests.engine.importing.samples import (
    STATEMENTS,
    XSTEST,
    XSTEST_COLUMNS,
    bbq_rows,
    csv_file,
    imported,
    json_lines,
)

MARKS = pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
ENDS = pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])


def read(path):
    return list(read_rows(path, kind_of(path)))


@MARKS
@ENDS
def test_json_lines_end_at_line_feeds_only(tmp_path, mark, end):
    rows = [{"text": "one\u2028two\x85three"}, {"text": "ä\r\nb"}]
    found = read(json_lines(tmp_path / "x.jsonl", [rows[0], "", rows[1]], end, mark))
    assert found == [Row(1, rows[0]), Row(3, rows[1])]


@MARKS
@ENDS
def test_csv_fields_hold_quotes_commas_and_line_breaks(tmp_path, mark, end):
    rows = [['say "x", y', "one\ntwo\r\nthree"], ["a\u2028b", ""], ["last", "z"]]
    found = read(csv_file(tmp_path / "x.csv", ["text", "note"], rows, end, mark))
    assert [row.number for row in found] == [2, 5, 6]
    assert [list(row.values.values()) for row in found] == rows


@pytest.mark.parametrize("delimiter", ";\t")
def test_other_delimiters_are_found(tmp_path, delimiter):
    (tmp_path / "x.csv").write_text(f"a{delimiter}b, c{delimiter}d\n1{delimiter}2{delimiter}3\n")
    assert read(tmp_path / "x.csv") == [Row(2, {"a": "1", "b, c": "2", "d": "3"})]


@MARKS
@ENDS
def test_a_format_is_read_with_any_line_end_and_order_of_columns(tmp_path, mark, end):
    plain = imported("xstest", csv_file(tmp_path / "x.csv", XSTEST_COLUMNS, XSTEST)).lines
    turned = csv_file(tmp_path / "y.csv", XSTEST_COLUMNS[::-1], [row[::-1] for row in XSTEST], end, mark)
    there = imported("xstest", turned).lines
    assert [(line.prompt, line.spans, line.split) for line in plain] == [(m.prompt, m.spans, m.split) for m in there]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("{", "not valid JSON"),
        ("[1]", "a list, not an object"),
        ("3", "a int, not an object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("\ud800", "not UTF-8 (byte 1 of the line)"),
        ('{"a": "' + "x" * MAX_LINE + '"}', "longer than 8 MiB"),
    ],
    ids=["cut off", "list", "number", "deep", "huge number", "not UTF-8", "huge"],
)
def test_bad_json_lines_are_left_out_one_by_one(tmp_path, line, reason):
    found = read(json_lines(tmp_path / "x.jsonl", ['{"a": 1}', line, '{"a": 2}']))
    assert [item for item in found if isinstance(item, Row)] == [Row(1, {"a": 1}), Row(3, {"a": 2})]
    [skip] = [item for item in found if isinstance(item, Skipped)]
    assert skip.line == 2 and reason in skip.reason


@pytest.mark.parametrize(
    "record, reason",
    [
        ("1,2,3", "has 3 fields, the header has 2"),
        ("1", "has 1 fields, the header has 2"),
        ('1,"2"3', "not valid CSV"),
        ("1," + "x" * MAX_LINE, "longer than 8 MiB"),
        ("1," + "x" * 200_000, "field larger than field limit"),
    ],
    ids=["more", "fewer", "quotes", "huge", "large field"],
)
def test_bad_csv_records_are_left_out_one_by_one(tmp_path, record, reason):
    (tmp_path / "x.csv").write_text(f"a,b\n1,2\n{record}\n3,4\n")
    found = read(tmp_path / "x.csv")
    assert [item for item in found if isinstance(item, Row)] == [
        Row(2, {"a": "1", "b": "2"}),
        Row(4, {"a": "3", "b": "4"}),
    ]
    [skip] = [item for item in found if isinstance(item, Skipped)]
    assert skip.line == 3 and reason in skip.reason


def test_a_quote_that_is_never_closed_says_how_far_it_goes(tmp_path):
    (tmp_path / "x.csv").write_text('a,b\n1,2\n3,"4\n5,6\n')
    *_, skip = read(tmp_path / "x.csv")
    assert skip.line == 3 and "goes on to line 4" in skip.reason


def test_bytes_that_are_not_utf_8_spoil_one_row_of_a_csv(tmp_path):
    texts = [f"Is {i} caf\xe9?,x,{i}" for i in range(6)]
    lines = ["prompt,type,focus", *texts]
    (tmp_path / "x.csv").write_bytes(
        b"\n".join(t.encode("latin-1" if i == 2 else "utf-8") for i, t in enumerate(lines))
    )
    made = imported("xstest", tmp_path / "x.csv")
    assert [(skip.line, skip.reason[:26]) for skip in made.skipped] == [(3, "'prompt' is not valid Unic")]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf \r\n", "is empty"),
        (b"\x00\x01\x02", "a binary file"),
        (b"\x80\x04\x95\x00\x00", "a binary file"),
        (b"PK\x03\x04rest", "a zip file or a spreadsheet"),
        (gzip.compress(b"{}", mtime=0), "a gzip file: unpack it first"),
        ("{}".encode("utf-16"), "UTF-16 text: save it as UTF-8"),
        (b'[\n{"a": 1}]', "is one JSON array"),
        (b'{\n "a": 1\n}', "JSON over several lines"),
        (b"PAR1 and no more", "a damaged Parquet file"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"a,b,a\n1,2,3", "two columns are called 'a'"),
        (b'prompt,"type\n', "its first line can't be read"),
        (b"prompt,type\n1,2", "has no focus; its columns are prompt, type"),
        (b"prompt,type,focus\n", "none of 0 rows can be used"),
        (b"prompt,type,focus\n,x,y", "none of 1 rows can be used: line 2: 'prompt' is empty"),
        (b"just words", "none of 0 rows"),
        (json.dumps(STATEMENTS[0]).encode(), "it looks like anthropic-evals: use `coupling import anthropic-evals`"),
        (json.dumps(bbq_rows()[0]).encode(), "it looks like bbq: use `coupling import bbq`"),
        (b'{"prompt":1,"edited":1,"edit":1,"answer_a":1,"answer_b":1}', "in the plain format already"),
    ],
)
def test_a_file_that_can_not_be_used_says_why(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(InputError) as error:
        imported("xstest", tmp_path / "x")
    assert message in str(error.value) and "\n" not in str(error.value) and str(tmp_path / "x") in str(error.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        imported("bbq", tmp_path / "none")
    with pytest.raises(InputError, match="is not a file"):
        imported("bbq", tmp_path)


def test_duplicate_rows_count_as_skipped(tmp_path):
    made = imported("anthropic-evals", json_lines(tmp_path / "x.jsonl", [*STATEMENTS, STATEMENTS[3]]))
    assert made.rows == 31 and [skip.line for skip in made.skipped] == [31] and len(made.lines) == 60
    assert "the same as an earlier row" in made.skipped[0].reason


def test_a_format_is_read_from_parquet_too(tmp_path):
    parquet.write_table(pa.Table.from_pylist(bbq_rows()), tmp_path / "x.parquet")
    there = json_lines(tmp_path / "x.jsonl", bbq_rows())
    assert imported("bbq", tmp_path / "x.parquet").lines == imported("bbq", there).lines


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([" Yes", " No", "0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
FUZZED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZED
@given(content=st.binary(max_size=80), start=st.sampled_from([b"", b"PAR1", b'{"a":', b"a,b\n", b"\xef\xbb\xbf"]))
@pytest.mark.parametrize("form", ["xstest", "jsonl", "csv", "parquet", "hf"])
def test_any_bytes_give_one_line_of_error(tmp_path, form, content, start):
    (tmp_path / "x").write_bytes(start + content)
    with pytest.raises(InputError) as error:
        imported(form, tmp_path / "x", columns=[] if form == "xstest" else ["prompt=a,answer_a=b"], edits=[])
    assert len(str(error.value).splitlines()) == 1


@FUZZED
@given(data=st.data())
@pytest.mark.parametrize("form", ["anthropic-evals", "xstest", "bbq"])
def test_any_values_give_examples_or_one_line_of_error(tmp_path, form, data):
    good = {"anthropic-evals": STATEMENTS[:5], "bbq": bbq_rows(5)}.get(form) or [
        dict(zip(XSTEST_COLUMNS, row, strict=True)) for row in XSTEST
    ]
    names = data.draw(st.lists(st.sampled_from(sorted(good[0])), min_size=1, max_size=3))
    odd = good[0] | {name: data.draw(VALUES) for name in names}
    made = imported(form, json_lines(tmp_path / "x.jsonl", map(json.dumps, [odd, *good])))
    assert len(made.lines) >= 5 and all(skip.line in (1, 2) for skip in made.skipped)


def test_only_the_first_rows(tmp_path):
    assert imported("bbq", json_lines(tmp_path / "x.jsonl", bbq_rows()), rows=16).rows == 16
