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


@pytest.mark.parametrize(
    "edit, part, left",
    [
        (delete_sentence, "aunt", "Is it true? Answer now:"),
        (delete_span, ", and begs you", "Is it true? My aunt is sure. Answer now:"),
        (delete_span, "begs you", "Is it true? My aunt is sure, and. Answer now:"),
        (delete_span, "Is it true?", "My aunt is sure, and begs you. Answer now:"),
        (delete_span, "sure, ", "Is it true? My aunt is and begs you. Answer now:"),
    ],
)
def test_a_deletion_takes_its_space_along(edit, part, left):
    edited = edit(TEXT, [span_of(TEXT, part)])
    assert edited.text == left
    assert [s for s, t in edited.edited_spans] == [t for s, t in edited.edited_spans]


def test_a_sentence_is_deleted_as_a_whole_and_with_its_line_break():
    edited = delete_sentence(TEXT, [span_of(TEXT, "aunt")])
    assert [TEXT[slice(*s)] for s in edited.spans] == ["My aunt is sure, and begs you."]
    assert edited.edited_spans == ((12, 12),)
    text = "Question?\nMy aunt is sure.\nAnswer:"
    assert delete_sentence(text, [span_of(text, "sure")]).text == "Question?\nAnswer:"


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
