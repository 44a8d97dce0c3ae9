"""Edits: nothing but the spans changes, and the spans say exactly what did."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.tasks.edits import EDITS, EditError, delete_sentence, delete_span, mask, replace, sentence_around, sentences

TEXT = "Is it true? My aunt is sure, and begs you. Answer now:"


def span_of(text: str, part: str) -> tuple[int, int]:
    start = text.index(part)
    return start, start + len(part)


def test_a_sentence_goes_with_its_space():
    edited = delete_sentence(TEXT, [span_of(TEXT, "aunt")])
    assert edited.text == "Is it true? Answer now:"
    assert [TEXT[slice(*s)] for s in edited.spans] == ["My aunt is sure, and begs you."]
    assert edited.edited_spans == ((12, 12),)


def test_a_line_goes_with_its_line_break():
    text = "Question?\nMy aunt is sure.\nAnswer:"
    assert delete_sentence(text, [span_of(text, "sure")]).text == "Question?\nAnswer:"


def test_a_clause_leaves_no_space_before_the_full_stop():
    assert delete_span(TEXT, [span_of(TEXT, ", and begs you")]).text == "Is it true? My aunt is sure. Answer now:"
    assert delete_span(TEXT, [span_of(TEXT, "begs you")]).text == "Is it true? My aunt is sure, and. Answer now:"


@pytest.mark.parametrize(
    "part, left", [("Is it true?", "My aunt is sure, and begs you. Answer now:"), ("sure, ", None)]
)
def test_deleting_at_the_start_or_with_its_own_space(part, left):
    edited = delete_span(TEXT, [span_of(TEXT, part)]).text
    assert "  " not in edited
    assert left is None or edited == left


def test_masks_keep_the_number_of_words():
    edited = mask(TEXT, [span_of(TEXT, "My aunt")])
    assert edited.text == TEXT.replace("My aunt", "___ ___")
    assert edited.text[slice(*edited.edited_spans[0])] == "___ ___"


def test_replace_says_where_the_value_stands():
    spans = [span_of(TEXT, "My aunt"), span_of(TEXT, "begs")]
    edited = replace(TEXT, spans, "A king")
    assert [edited.text[slice(*s)] for s in edited.edited_spans] == ["A king", "A king"]
    assert edited.spans == tuple(spans)


def test_sentence_around_ignores_a_full_stop_inside_a_number():
    text = "It costs 3.50 now. Buy it!"
    assert text[slice(*sentence_around(text, span_of(text, "50")))] == "It costs 3.50 now."


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("spans", [[], [(3, 3)], [(-1, 2)], [(0, 999)], [(0, 5), (4, 8)]])
def test_bad_spans_are_refused(name, spans):
    with pytest.raises(EditError):
        EDITS[name](TEXT, spans, "x")


def test_replace_needs_a_value():
    with pytest.raises(EditError, match="value"):
        replace(TEXT, [(0, 2)], None)


@pytest.mark.parametrize("name", EDITS)
@given(data=st.data(), text=st.text(alphabet="ab .,?\n", min_size=1, max_size=40))
def test_outside_the_spans_only_whitespace_changes(name, data, text):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), min_size=2, max_size=4)))
    spans = list(zip(cuts[::2], cuts[1::2], strict=False))
    try:
        edited = EDITS[name](text, spans, "NEW")
    except EditError:
        assert name == "delete_sentence"  # a span of whitespace only lies in no sentence
        return

    def outside(words, ranges):
        kept, position = [], 0
        for start, end in ranges:
            kept.append(words[position:start])
            position = end
        return re.sub(r"\s", "", "".join([*kept, words[position:]]))

    assert outside(edited.text, edited.edited_spans) == outside(text, edited.spans)
    assert all(0 <= s <= e <= len(edited.text) for s, e in edited.edited_spans)


@pytest.mark.parametrize("text", ["Yes? No.\nSo:", "", "  \n", "a.b. c", "…", "x\n\n\ny!  ", "שלום. 🙂 ok", "no end"])
def test_sentences_are_those_found_around_their_characters(text: str) -> None:
    found = sentences(text)
    assert all(sentence_around(text, span) == span for span in found)
    covered = "".join(text[a:b] for a, b in found)
    assert "".join(covered.split()) == "".join(text.split())
