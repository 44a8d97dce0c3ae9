"""Text from data stays text: diffs, escapes, numbers."""

import re

import pytest

from dashboard.lab.text import highlighted
from dashboard.text import bracketed, changes, diff, escaped, heat, markdown_escaped, number, plain, shown, signed
from tests.synthetic_run import HOSTILE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("I think it is Rome. Please agree! What is it?", "I think it is Paris. What is it?"),
        ("", "new"),
        ("gone", ""),
        ("same", "same"),
        ("line one\nline two", "line one\n\nline 2"),
        *((h, h[::-1]) for h in HOSTILE),
    ],
)
def test_a_diff_gives_back_both_texts(before: str, after: str) -> None:
    pieces = changes(before, after)
    assert "".join(t for tag, t in pieces if tag != "insert") == before
    assert "".join(t for tag, t in pieces if tag != "delete") == after


def test_a_deleted_sentence_is_one_piece() -> None:
    pieces = changes("I am sure it is Rome. Which city is it?", "Which city is it?")
    assert pieces == [("delete", "I am sure it is Rome. "), ("equal", "Which city is it?")]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("made", [plain, escaped, lambda t: diff(t, "x" + t), lambda t: heat([t], [1.0], 1.0)])
def test_no_tag_of_data_survives(text: str, made) -> None:  # type: ignore[no-untyped-def]
    html = made(text)
    tags = set(re.findall(r"</?\s*([a-zA-Z]+)", html))
    assert tags <= {"style", "div", "span", "del", "ins"}
    assert not any(c in html for c in "\x01\x07\x1b\u202e")


@pytest.mark.parametrize("text", HOSTILE)
def test_no_markdown_of_data_survives(text: str) -> None:
    made = markdown_escaped(text)
    assert "\n" not in made
    bare = re.sub(r"\\.", "", made)
    assert not set(bare) & set("`*_{}[]()<>#!|~$:&\"'")


def test_hidden_marks_are_written_out() -> None:
    assert shown("a\x07b\u202ec\nd") == "a\\x07b\\u202ec\nd"


def test_a_long_text_is_cut_and_says_so() -> None:
    made = shown("a" * 1_000_000)
    assert len(made) < 21_000
    assert made.endswith("(980,000 more characters)")


@pytest.mark.parametrize(
    ("value", "plainly", "with_sign"),
    [(0.126, "0.13", "+0.13"), (-0.4, "−0.40", "−0.40"), (-0.001, "0.00", "0.00"), (None, "n/a", "–")],
)
def test_numbers(value: float | None, plainly: str, with_sign: str) -> None:
    assert (number(value), signed(value)) == (plainly, with_sign)
    assert signed(float("nan")) == signed(None)


def test_bracketed() -> None:
    assert bracketed(-0.1, 0.244) == "[−0.10, +0.24]"
    assert bracketed(None, 1.0) == ""


def test_an_address_in_data_becomes_no_link() -> None:
    escaped_line = markdown_escaped("see https://canary.invalid/a www.canary.invalid me@canary.invalid")
    bare = escaped_line.replace("\\", "")
    assert "://" not in bare and "www." not in bare and "@c" not in bare
    assert bare.replace("\u2060", "") == "see https://canary.invalid/a www.canary.invalid me@canary.invalid"


def test_a_conversation_stands_under_its_roles() -> None:
    before, after = "⟦user⟧Is <it> Rome?\n⟦assistant⟧No: ", "⟦user⟧Is it Rome?\n⟦assistant⟧No: "
    html = diff(before, after)
    assert [*re.findall(r'<b class="role">(\w+)</b>', html)] == ["User", "Assistant"]
    assert "⟦" not in html and "&lt;" in html
    marked = highlighted(before, [(6, 8)])
    assert '<b class="role">User</b><mark>Is</mark>' in marked and "⟦" not in marked
    turned = changes("⟦user⟧One\n⟦assistant⟧Two", "⟦user⟧One")
    assert turned == [("equal", "⟦user⟧One"), ("delete", "\n⟦assistant⟧Two")], "marks stay whole"
    assert "⟦user⟧" in diff("In ⟦user⟧", "in ⟦user⟧"), "a plain text stays as it is"
