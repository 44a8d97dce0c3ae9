"""YAML files of strangers: what can't be read or stored ends with one line that names the place."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import RunSpec, SpecError
from engine.spec_files import LONGEST, MOST_VALUES, parse_yaml, read_spec, read_yaml

GROWING = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 8)}]\n" for before, after in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: [", "line 1: not valid YAML"),
        ("name: x\n\ttask: 1", "line 2: not valid YAML"),
        ("- a", "a mapping"),
        ("", "a mapping"),
        ("1: 2", "the key '1' is not a text"),
        ("a: {yes: 2}", "a: the key 'True' is not a text"),
        (f'"a\\nb": {"9" * 30}', "a·b: the number is too large"),
        ('"a\\nb": "\\0"', "a·b: a text with a NUL"),
        ("?", "spec: the key 'None' is not a text"),
        ("a: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("a: !!int abc", "not what its tag or its digits say"),
        ("a: !!timestamp nope", "not what its tag or its digits say"),
        ("a: !!float nope", "not what its tag or its digits say"),
        ("when: 2026-13-45", "not valid YAML"),
        (f"seed: {'9' * 6000}", "not valid YAML"),
        (f"a: [{{step: 1{'0' * 40}}}]", "a.0.step: the number is too large"),
        ("a: 1\nb: 2\na: 3", "line 3: not valid YAML: the key 'a' stands twice"),
        ("[" * 5_000, "nested too deeply"),
        ("".join(f"{' ' * i}a:\n" for i in range(300)), "nested too deeply"),
        ("a: &a [*a]", "nested too deeply"),
        (GROWING, f"more than {MOST_VALUES:,} values"),
        ("a: 1\n" * LONGEST, "at most"),
        ("x: \x00", "not valid YAML"),
        ('x: "a\\0b"', "x: a text with a NUL"),
        ('x: ["\\ud800"]', "x.0: a text with a NUL or half a character"),
        (f'{"x" * 900}: "\\0"', "xxx…: a text with a NUL"),
        (f"? {'x' * 900}\n: {'9' * 30}", "xxx…: the number is too large"),
    ],
)
def test_what_can_not_be_read_or_stored_is_named(text: str, problem: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_yaml(text)
    assert problem in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1 and len(str(caught.value)) < 400


@given(st.text(alphabet="ab:-[]{},&*!|>%@`#'\"\\ \n\t\x00\u2028?<=1.~é", max_size=80))
def test_any_text_is_a_mapping_or_a_spec_error(text: str) -> None:
    try:
        assert isinstance(parse_yaml(text), dict)
    except SpecError as error:
        assert len(str(error).splitlines()) <= 1


def test_an_alias_stands_for_what_it_names() -> None:
    assert parse_yaml("a: &x {b: 1}\nc:\n  <<: *x\n  d: *x") == {"a": {"b": 1}, "c": {"b": 1, "d": {"b": 1}}}


def test_numbers_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    checkpoints = "checkpoints: [{name: a--b, path: m}, {name: a--c, path: m, step: 1}]"
    for value in (".inf", "-.inf", ".nan"):
        path.write_text(f"name: x\ntask: {{name: sycophancy}}\n{checkpoints}\nexplainers: {{penalties: [{value}]}}\n")
        with pytest.raises(SpecError, match=r"spec\.yaml: explainers\.penalties\.0: Input should be"):
            read_spec(path, RunSpec)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(SpecError, match="is not a file"):
            read_yaml(path)
    for path, why in ((Path("a\0b"), "can't be read"), (tmp_path / "none.yaml", "no such file")):
        with pytest.raises(SpecError, match=why):
            read_yaml(path)
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(SpecError, match="can't be read"):
        read_yaml(tmp_path / "bytes.yaml")
    (tmp_path / "mark.yaml").write_text("a: 1", encoding="utf-8-sig")
    assert read_yaml(tmp_path / "mark.yaml") == {"a": 1}
