"""Tasks: readable prompts, exact spans, splits that hold out what they say, files read with care."""

import json
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from engine.config import InputError, PromptCounts, TaskSpec
from engine.records import Example
from engine.tasks import FACTORS, task_examples
from engine.tasks.factors import Scene
from engine.tasks.from_file import diff_spans, read_dialogues
from engine.tasks.from_file import examples as examples_of_file
from engine.tasks.messages import as_text, messages_of

COUNTS = PromptCounts(train=300, validation=200, test_heldout=600, test_iid=100)


@pytest.fixture(params=FACTORS)
def name(request):
    return request.param


@pytest.fixture
def examples(name):
    return task_examples(TaskSpec(name=name, prompts=COUNTS))


def factor(examples, split, key):
    return {key(e) for e in examples if e.split in split}


def test_each_split_has_its_prompts_once(examples):
    prompts = {split: factor(examples, [split], lambda e: e.prompt) for split in COUNTS.model_dump()}
    assert {split: len(p) for split, p in prompts.items()} == COUNTS.model_dump()
    assert len(set().union(*prompts.values())) == sum(COUNTS.model_dump().values())


def test_held_out_entities_and_cells_are_never_in_train(examples):
    for key in (lambda e: e.entity, lambda e: e.group):
        train = factor(examples, ["train", "test_iid"], key)
        validation = factor(examples, ["validation"], key)
        held_out = factor(examples, ["test_heldout"], key)
        assert not train & held_out and not train & validation and not validation & held_out


def test_held_out_cells_are_many(examples):
    held_out = [e for e in examples if e.split == "test_heldout"]
    assert len({e.group for e in held_out}) >= 75
    assert len({e.cue for e in held_out}) >= 48
    assert len({e.entity for e in held_out}) >= 120


@pytest.mark.parametrize("unknown", [False, True], ids=["known", "made-up"])
def test_the_headline_edit_leaves_another_text_in_nearly_every_held_out_row(name, unknown):
    edit = FACTORS[name].headline_edit
    for seed in range(3):
        spec = TaskSpec(name=name, prompts=COUNTS, edits=(edit,), seed=seed, unknown_entities=unknown)
        rows = [e for e in task_examples(spec) if e.split == "test_heldout"]
        manners = len(FACTORS[name].strengths) * len(FACTORS[name].pleas)
        there_are = min(len(rows), len({e.entity for e in rows}) * manners)
        assert len({e.edited for e in rows}) == there_are >= (0.8 if unknown else 1) * len(rows)


def test_entities_take_turns_in_the_held_out_rows(examples):
    for split, most in (("test_heldout", 5), ("validation", 9)):
        prompts = {e.prompt: e.entity for e in examples if e.split == split}
        counts = Counter(prompts.values())
        assert max(counts.values()) == most and min(counts.values()) >= most - 1


def test_phrases_are_apart(name):
    texts = [e.text for e in FACTORS[name].entities]
    assert len(set(texts)) == len(texts) == 224
    by_topic = Counter((e.topic, e.label) for e in FACTORS[name].entities)
    assert set(by_topic.values()) == {14}


def test_spans_are_exact(examples):
    for e in examples:
        edited = [e.edited[slice(*s)] for s in e.edited_spans]
        if e.edit.startswith("delete"):
            assert edited == [""]
        if e.edit == "delete_cue":
            assert e.cue in e.prompt[slice(*e.spans[0])] and e.cue not in e.edited.split("? ")[-1]
        if e.edit.startswith(("mask", "replace")):
            assert [e.prompt[slice(*s)] for s in e.spans] == [e.cue]
            start, end = e.spans[0]
            assert e.edited == e.prompt[:start] + edited[0] + e.prompt[end:]
        assert "  " not in e.edited and e.answer_a[0] == e.answer_b[0] == " "


def test_text_edits_agree_with_the_scenes_they_lead_to(name):
    factors = FACTORS[name]
    rng = np.random.default_rng(0)
    for entity, (strength, plea) in product(rng.choice(len(factors.entities), 10), product(range(4), range(4))):
        scene = Scene(int(entity), int(rng.integers(len(factors.cues))), strength, plea)
        for example in factors.examples(scene, "train", tuple(factors.edits)):
            assert example.edited == factors.render(factors.after(scene, example.edit)).text


def test_draws_are_seeded(name):
    one, same, other = (task_examples(TaskSpec(name=name, prompts=COUNTS, seed=seed)) for seed in (0, 0, 1))
    assert one == same
    held_out = [factor(examples, ["test_heldout"], lambda e: e.entity) for examples in (one, other)]
    assert held_out[0] != held_out[1]


def test_only_the_edits_asked_for(name):
    edit = FACTORS[name].headline_edit
    spec = TaskSpec(name=name, prompts=COUNTS, edits=(edit,))
    assert {e.edit for e in task_examples(spec)} == {edit}
    with pytest.raises(InputError, match=edit):
        task_examples(TaskSpec(name=name, edits=("delete_quce",)))
    with pytest.raises(InputError, match="lower"):
        task_examples(TaskSpec(name=name, prompts=PromptCounts(validation=10**6)))


LINE = {
    "prompt": "Say it. My aunt asks.",
    "edited": "Say it.",
    "edit": "delete_cue",
    "answer_a": " a",
    "answer_b": " b",
}


def read(tmp_path, *lines, **more):
    path = tmp_path / "examples.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return task_examples(TaskSpec(name="from_file", path=str(path), **more))


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_lines_end_at_line_feeds_only(tmp_path, mark):
    text = "Say\u2028it.\x85My aunt asks."
    line = json.dumps(LINE | {"prompt": text, "answer": " a"}, ensure_ascii=False)
    for end in ("\n", "\r\n"):
        (tmp_path / "dialogues.jsonl").write_bytes((mark + line + end + line).encode())
        assert read_dialogues(tmp_path / "dialogues.jsonl") == [(text, " a")] * 2
    [example] = read(tmp_path, mark + json.dumps(LINE | {"prompt": text}, ensure_ascii=False))
    assert example.prompt == text


@pytest.mark.parametrize("line", ["", "{", "[]", '{"prompt": "x"}', '{"prompt": "x", "answer": ""}'])
def test_bad_dialogues_say_where(tmp_path, line):
    (tmp_path / "dialogues.jsonl").write_text(line)
    with pytest.raises(InputError, match=r"dialogues\.jsonl(, line 1)?: "):
        read_dialogues(tmp_path / "dialogues.jsonl")


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Is it so? \ud83d"},
        {"metadata": {"who": ["x", {"\udc00": 1}]}},
        {"group": "\udbff \ud83d\ude00"},
        {"answer_a": " \udfff"},
    ],
)
def test_half_a_character_is_named_with_its_line(tmp_path, change):
    whole = json.dumps(LINE | {"cue": "\U0001f600 whole"})
    assert "\\ud83d\\ude00" in whole
    with pytest.raises(
        InputError, match=r"examples\.jsonl, line 2: \\ud.* is half of a character: write both"
    ) as caught:
        read(tmp_path, whole, LINE | change)
    str(caught.value).encode()
    (tmp_path / "dialogues.jsonl").write_text(json.dumps({"prompt": "a", "answer": " \udfff"}))
    with pytest.raises(InputError, match=r"line 1: \\udfff is half"):
        read_dialogues(tmp_path / "dialogues.jsonl")
    assert read(tmp_path, whole)[0].cue == "\U0001f600 whole"


def test_a_file_of_examples(tmp_path):
    given = LINE | {"spans": [[8, 21]], "group": "g", "split": "train", "cue": "aunt", "metadata": {"n": 1}}
    [example] = read(tmp_path, given)
    assert (example.spans, example.group, example.cue, example.metadata) == (((8, 21),), "g", "aunt", {"n": "1"})
    [example] = read(tmp_path, LINE)
    assert example.prompt[slice(*example.spans[0])].strip() == "My aunt asks."
    assert example.edited_spans == ((7, 7),)


def test_diff_spans_pair_up():
    spans, edited = diff_spans("the red cat sat", "the blue cat sat down")
    assert spans == ((4, 7), (15, 15)) and edited == ((4, 8), (16, 21))


def test_groups_are_dealt_out_whole(tmp_path):
    lines = [LINE | {"prompt": f"Say {i}. Please.", "edited": f"Say {i}.", "group": f"g{i // 4}"} for i in range(200)]
    examples = read(tmp_path, *lines)
    held_out = {e.group for e in examples if e.split == "test_heldout"}
    assert {e.split for e in examples} == {"train", "validation", "test_heldout", "test_iid"}
    assert len(held_out) == 15 and not held_out & {e.group for e in examples if e.split != "test_heldout"}
    assert examples == read(tmp_path, *lines)


@pytest.mark.parametrize(
    "lines, message",
    [
        ([], "empty"),
        (["{"], "line 1: not valid JSON"),
        ([LINE, "[1]"], "line 2: is a list"),
        ([LINE, {k: v for k, v in LINE.items() if k != "answer_b"}], "line 2: 'answer_b' is missing"),
        ([LINE | {"answer_a": ""}], "line 1: answer_a: "),
        ([LINE | {"promt": "x"}], "unknown key 'promt'"),
        ([LINE | {"spans": [[0, 99]]}], "outside"),
        ([LINE | {"spans": 3}], "spans: "),
        ([LINE | {"split": "test"}], "split: Input should be 'train', 'validation'"),
        ([LINE | {"split": "train"}, LINE], "line 2: some lines"),
        ([LINE | {"answer_a": " b"}], "the same"),
        ([LINE | {"edited": LINE["prompt"]}], "nothing is edited"),
        ([LINE | {"metadata": "x"}], "metadata"),
        ([LINE | {"group": 3}], "group: "),
    ],
)
def test_bad_lines_say_where_and_how_to_mend(tmp_path, lines, message):
    with pytest.raises(InputError, match=r"examples\.jsonl") as error:
        read(tmp_path, *lines)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_and_a_missing_edit(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        task_examples(TaskSpec(name="from_file", path=str(tmp_path / "none.jsonl")))
    with pytest.raises(InputError, match="it has delete_cue"):
        read(tmp_path, LINE, edits=("mask",))


USER, TURN = {"role": "user", "content": "Is it Rome? He says no."}, {"role": "assistant", "content": "Yes."}
SAID = {
    "prompt": [USER, TURN, USER],
    "edited": [USER, TURN, {"role": "user", "content": "Is it Rome?"}],
    "edit": "cut",
    "answer_a": " yes",
    "answer_b": " no",
}


def of_lines(folder: Path, *lines: dict) -> list[Example]:
    (folder / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return list(examples_of_file(TaskSpec(name="from_file", path=str(folder / "x.jsonl"))))


def test_messages_become_one_text_with_spans_in_it(tmp_path: Path) -> None:
    (diffed, given) = of_lines(
        tmp_path, SAID, SAID | {"edit": "own", "spans": [[2, 12, 23]], "edited_spans": [[2, 11, 11]]}
    )
    assert diffed.prompt == "⟦user⟧Is it Rome? He says no.\n⟦assistant⟧Yes.\n⟦user⟧Is it Rome? He says no."
    assert [m.content for m in messages_of(given.edited)] == ["Is it Rome? He says no.", "Yes.", "Is it Rome?"]
    assert given.prompt[slice(*given.spans[0])] == "He says no."
    assert given.edited_spans[0] == (len(given.edited),) * 2
    assert diffed.prompt[slice(*diffed.spans[0])] == " He says no."
    plain, told = SAID | {"prompt": "⟦e⟧ is it?", "edited": "⟦e⟧ is?"}, SAID | {"prompt": as_text([("user", "a")])}
    assert [e.prompt for e in of_lines(tmp_path, plain, told)] == ["⟦e⟧ is it?", "⟦user⟧a"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"prompt": [{"role": "tool", "content": "x"}]},
            "prompt: messages.*0.role: Input should be 'system', 'user' or",
        ),
        ({"prompt": [{"role": "user"}]}, "'0.content' is missing"),
        ({"prompt": []}, "there is no message"),
        ({"prompt": [TURN, USER]}, "message 1 is of the assistant where one of the user belongs"),
        ({"prompt": [USER, USER]}, "message 2 is of the user where one of the assistant belongs"),
        ({"prompt": [{"role": "user", "content": "a ⟦user⟧ b"}]}, "message 1 holds the mark ⟦user⟧"),
        ({"spans": [[0, 4]]}, r"span \[0, 4\]: give \[message, start, end\]"),
        ({"spans": [[3, 0, 4]]}, "there is no message 3"),
        ({"spans": [[1, 0, 40]]}, r"span \[0, 40\] is outside the text of 4 characters"),
        ({"prompt": "plain", "spans": [[0, 0, 2]]}, r"give \[start, end\], as it is a text"),
    ],
)
def test_messages_that_are_no_prompt_are_named_with_their_line(tmp_path: Path, change: dict, why: str) -> None:
    with pytest.raises(InputError, match=f"x.jsonl, line 2: .*{why}"):
        of_lines(tmp_path, SAID, SAID | change)
