"""Prompts in chat templates of public forms: the text is that of transformers, f and states are those of one row."""

from __future__ import annotations

import copy
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from engine.config import ChatSpec, HiddenSpec
from engine.model import rendering
from engine.model.attribution import token_attribution
from engine.model.behavior import BehaviorError, measure, tokenised
from engine.model.chat import ChatError, chat_for
from engine.model.checkpoints import Checkpoint, CheckpointError, load
from engine.model.next_tokens import next_tokens
from engine.model.tokens import Tokens
from engine.records import Example, examples_table
from engine.tasks.edits import delete_sentence, delete_span, sentences
from engine.tasks.messages import as_text
from tests import reference
from tests.chat_templates import TEMPLATES, VARIABLES
from tests.engine.model.test_behavior import TOLERANCE, checkpoint
from tests.tiny_models import LAYERS, tokenizer

LONGEST = 600
DAY = "2026-03-31"
X = "A professor says no. Is it so?"
PLAIN = [("user", X)]
TURNS = [("user", "Is Paris in France? "), ("assistant", "Yes, I am sure."), ("user", X)]
BEGUN = [("user", X), ("assistant", "My answer: ")]
SYSTEM = [("system", "Be quite sure."), ("user", X)]


def chatty(form: str, *, bos: bool = True, **spec: object) -> Checkpoint:
    """A tiny model whose tokenizer puts a BOS in front of plain texts, with a template of this form."""
    words = tokenizer(bos)
    words.chat_template = TEMPLATES[form]
    given = ChatSpec.model_validate({"variables": VARIABLES.get(form, {}), "date": DAY} | spec)
    return replace(long_reader(), tokenizer=words, chat=chat_for(words, given))


@functools.cache
def long_reader() -> Checkpoint:
    """The tiny tokenizer has many tokens for a template."""
    plain = checkpoint("llama")
    model = copy.deepcopy(plain.model)
    model.config.max_position_embeddings = LONGEST
    return replace(plain, model=model)


def expected(model: Checkpoint, messages: list[tuple[str, str]], answers: tuple[str, str]) -> Tokens:
    """The tokens by transformers alone: the prompt is what `apply_chat_template` gives, and the answer is what stands
    in the whole conversation after it."""
    form = next(f for f, t in TEMPLATES.items() if t == model.tokenizer.chat_template)
    said = [{"role": role, "content": content} for role, content in messages]
    options = VARIABLES.get(form, {}) | {"date_string": "31 Mar 2026"}
    prefix = said[-1]["content"] if said[-1]["role"] == "assistant" else ""
    asked = said[:-1] if prefix else said
    text = model.tokenizer.apply_chat_template(asked, add_generation_prompt=True, tokenize=False, **options)
    gap = " " if form == "mistral" else ""  # as it stands in front of the assistant's words
    begun = text + gap + prefix if prefix else text
    wholes = [begun + (answer if prefix else gap + answer.strip()) for answer in answers]
    ids = [model.tokenizer(whole, add_special_tokens=False).input_ids for whole in (begun, *wholes)]
    shared = min(next((i for i, (a, b) in enumerate(zip(ids[0], other)) if a != b), len(ids[0])) for other in ids[1:])  # noqa: B905
    return Tokens(tuple(ids[0][:shared]), tuple(tuple(other[shared:]) for other in ids[1:]), ())


CONVERSATIONS = {"plain": PLAIN, "turns": TURNS, "begun": BEGUN, "system": SYSTEM}


# Gemma's form refuses system texts; a test below holds it to that.
ASKED = [(form, which) for form in TEMPLATES for which in CONVERSATIONS if (form, which) != ("gemma", "system")]


@pytest.mark.parametrize(("form", "which"), ASKED)
def test_the_text_is_that_of_apply_chat_template(form: str, which: str) -> None:
    model, messages = chatty(form), CONVERSATIONS[which]
    answers = ("yes", "no") if which == "begun" else (" yes", " no")
    (found,) = tokenised(model, [as_text(messages)], [answers], ["x"])
    right = expected(model, messages, answers)
    assert model.tokenizer.decode(found.prompt) == model.tokenizer.decode(right.prompt)
    assert (found.prompt, found.answers) == (right.prompt, right.answers)
    assert (found.prompt[0] == 0) == ("{ bos_token" in TEMPLATES[form].replace("{-", "{")), (
        "the template alone writes it"
    )
    assert found.prompt[1] != 0


@pytest.mark.parametrize("form", TEMPLATES)
def test_behavior_and_states_are_those_of_one_row(form: str) -> None:
    model = chatty(form)
    rows = []
    for messages in (PLAIN, TURNS, BEGUN):
        prompt = as_text(messages)
        made = delete_span(prompt, [(prompt.index("A professor"), prompt.index(" Is it so"))])
        rows.append(Example("t", prompt, made.text, "cut", made.spans, made.edited_spans, " yes", " no", "g", "train"))
    examples = examples_table(rows)
    hidden = HiddenSpec(layers=(1, LAYERS), positions=("last", "span"))
    found = measure(model, examples, hidden=hidden, examples_too=True, batch_size=4)
    for i, messages in enumerate((PLAIN, TURNS, BEGUN)):
        cut = [(role, content.replace("A professor says no. ", "")) for role, content in messages]
        x, edited = (expected(model, m, (" yes", " no")) for m in (messages, cut))
        assert found.f[i] == pytest.approx(reference.log_odds(model, x.prompt, x.answers), abs=TOLERANCE)
        assert found.f_edited[i] == pytest.approx(
            reference.log_odds(model, edited.prompt, edited.answers), abs=TOLERANCE
        )
        last = reference.hidden(model, x.prompt, [len(x.prompt) - 1], 1)
        np.testing.assert_allclose(found.prompts["last.1"][i], last, atol=1e-4)
        words = [model.tokenizer.decode([t]) for t in x.prompt]
        ends = np.cumsum([len(word) for word in words])
        start = "".join(words).index("A professor")
        inside = [k for k, end in enumerate(ends) if end > start and end - len(words[k]) < start + 20]
        np.testing.assert_allclose(found.examples["span.1"][i], reference.hidden(model, x.prompt, inside, 1), atol=1e-4)


@pytest.mark.parametrize("form", TEMPLATES)
def test_places_are_those_of_the_persons_own_text(form: str) -> None:
    model, prompt = chatty(form), as_text(TURNS)
    (found,) = tokenised(model, [prompt], [(" yes", " no")], ["x"])
    own = [
        (prompt[s:e], model.tokenizer.decode([t]))
        for t, (s, e) in zip(found.prompt, found.offsets, strict=True)
        if s < e
    ]
    assert all(mine in token for mine, token in own)
    assert "".join(mine for mine, _ in own).replace(" ", "") == "".join(c for _, c in TURNS).replace(" ", "")


def test_the_last_message_is_continued_where_a_template_trims_it() -> None:
    model = chatty("llama-3")
    (found,) = tokenised(model, [as_text(BEGUN)], [("yes", "no")], ["x"])
    assert model.tokenizer.decode((*found.prompt, *found.answers[0])).endswith("My answer: yes")


def test_system_text_is_put_in_front_of_prompts_without_one() -> None:
    model = chatty("smollm2", system="Say yes.")
    texts = [model.chat.read(as_text(m)).text for m in (PLAIN, SYSTEM)]  # type: ignore[union-attr]
    assert "system\nSay yes.<" in texts[0] and "Say yes." not in texts[1] and "Be quite sure." in texts[1]
    found = tokenised(model, [X], [(" yes", " no")], ["x"])[0]
    assert "".join(X[s:e] for s, e in found.offsets) == X, "the system text is not the person's own"


def test_the_day_is_fixed_and_told() -> None:
    chat = chatty("llama-3").chat
    assert chat is not None
    assert "Today Date: 31 Mar 2026" in chat.read("x").text and chat.used["date"] == DAY
    today = chatty("llama-3", date=None).chat
    assert today is not None and today.used["date"] == date.today().isoformat()
    other = chatty("qwen3", date=None, system="Be brief.").chat
    assert other is not None and "date" not in other.used
    assert other.used["variables"] == {"enable_thinking": False} and other.used["system"] == "Be brief."
    assert len(other.used["template_sha256"]) == 64


def test_attribution_and_next_tokens_read_the_same_text() -> None:
    model, prompt = chatty("gemma"), as_text(TURNS)
    (tokens,) = tokenised(model, [prompt], [(" yes", " no")], ["x"])
    heat = token_attribution(model, prompt, " yes", " no", steps=4)
    assert len(heat.tokens) == len(tokens.prompt)
    outside = [s == e for s, e in heat.offsets]
    assert any(outside) and not heat.scores[outside].any(), "the template is the same in the baseline"
    assert heat.f == pytest.approx(reference.log_odds(model, tokens.prompt, tokens.answers), abs=1e-4)
    following = next_tokens(model, [prompt], (" yes", " no"))
    first = reference.log_prob(model, tokens.prompt, tokens.answers[0][:1])
    at = [i for i, who in enumerate(following.answers) if "a" in who.split(" and ")][0]  # noqa: RUF015
    assert np.log(following.probabilities[0, at]) == pytest.approx(first, abs=1e-4)


def test_sentences_and_deletions_keep_the_marks_of_roles() -> None:
    text = as_text(TURNS)
    assert [text[s:e] for s, e in sentences(text)] == [
        "Is Paris in France?",
        "Yes, I am sure.",
        "A professor says no.",
        "Is it so?",
    ]
    start = text.index("A professor")
    made = delete_sentence(text, [(start, start + 3)])
    assert made.text == as_text([*TURNS[:2], ("user", "Is it so?")])


@pytest.mark.parametrize(
    ("form", "prompt", "why"),
    [
        ("gemma", as_text(SYSTEM), r"can't be applied \(System role not supported\)"),
        ("qwen3", "⟦user⟧One\n⟦user⟧Two", "message 2 is of the user where one of the assistant belongs"),
        ("qwen3", "⟦assistant⟧One", "message 1 is of the assistant where one of the user belongs"),
        ("qwen3", "⟦system⟧One", "there is only a system message"),
        ("qwen3", "⟦user⟧One\n⟦assistant⟧ ", "empty message of the assistant"),
        ("qwen3", "yes " * LONGEST, rf"take \d+ tokens, llama--tiny reads at most {LONGEST}"),
    ],
)
def test_a_prompt_that_cant_be_read_is_named(form: str, prompt: str, why: str) -> None:
    with pytest.raises(BehaviorError, match=rf"^example second: .*{why}"):
        tokenised(chatty(form), ["Fine.", prompt], [(" yes", " no")] * 2, ["first", "second"])


def test_messages_need_a_template_and_on_does_too(tmp_path) -> None:
    plain = checkpoint("llama", True)
    with pytest.raises(BehaviorError, match="example x: its prompt has messages, and this model reads plain text"):
        tokenised(plain, [as_text(PLAIN)], [(" yes", " no")], ["x"])
    with pytest.raises(BehaviorError, match="its prompt has messages"):
        tokenised(chatty("qwen3", mode="off"), [as_text(PLAIN)], [(" yes", " no")], ["x"])
    plain.model.save_pretrained(tmp_path)
    plain.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="has no chat template: set chat: auto or off"):
        load(plain.spec.model_copy(update={"path": str(tmp_path)}), "cpu", chat=ChatSpec(mode="on"))


def test_answers_that_differ_in_leading_space_only_are_refused() -> None:
    with pytest.raises(BehaviorError, match="example x: its answers differ in their leading white space only"):
        tokenised(chatty("qwen3"), ["So?"], [(" yes", "yes")], ["x"])


def test_a_template_that_rewrites_a_message_is_told_where_places_are_needed() -> None:
    words = tokenizer()
    words.chat_template = "{% for m in messages %}{{ m.content | upper }}{% endfor %}>"
    model = replace(checkpoint("llama"), tokenizer=words, chat=chat_for(words, ChatSpec()))
    assert tokenised(model, ["so"], [(" a", " b")], ["x"], offsets=False)[0].prompt == tuple(words("SO>").input_ids)
    with pytest.raises(BehaviorError, match="example x: its characters can't be placed"):
        tokenised(model, ["so"], [(" a", " b")], ["x"])


ENDLESS = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(9) %}{% endfor %}{% endfor %}{% endfor %}"
)
PROGRAMS = {
    "loops": (ENDLESS, "did not end within 1 seconds"),
    "one number": ("{{ messages | length | round(-10 ** 9) }}", "did not end within 1 seconds"),
    "a long text": ("{{ 'a' * 10 ** 11 }}", "MemoryError"),
}


@pytest.mark.parametrize(("template", "why"), PROGRAMS.values(), ids=PROGRAMS)
def test_a_template_that_does_not_end_is_ended_on_any_thread(template: str, why: str, monkeypatch) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 1)
    monkeypatch.setattr(rendering, "_RENDERER", rendering._Renderer())
    words = tokenizer()
    words.chat_template = "{% if messages[0].content == 'go' %}" + template + "{% endif %}{{ messages[0].content }}"
    chat = chat_for(words, ChatSpec())
    assert chat is not None and chat.read("so").text == "so"
    with ThreadPoolExecutor() as pool, pytest.raises(ChatError, match=f"can't be applied .*{why}"):
        pool.submit(chat.read, "go").result(timeout=20)
    assert chat.read("again").text == "again", "the next text is read"


def test_a_process_that_is_forked_has_a_renderer_of_its_own() -> None:
    words = tokenizer()
    words.chat_template = "{{ messages[0].content }}"
    chat = chat_for(words, ChatSpec())
    assert chat is not None and chat.read("so").text == "so"
    child = os.fork()
    if not child:
        os._exit(0 if rendering._RENDERER._process is None and chat.read("then").text == "then" else 1)
    assert chat.read("here").text == "here" and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_plain_text_is_read_as_before_where_there_is_no_template() -> None:
    assert chat_for(tokenizer(), ChatSpec()) is None and chatty("gemma", mode="off").chat is None
    with pytest.raises(ChatError, match="multiple chat templates"):
        words = tokenizer()
        words.chat_template = {"one": "a", "two": "b"}
        chat_for(words, ChatSpec())


@pytest.mark.parametrize(("given", "mode"), [("on", "on"), (True, "on"), (False, "off"), ({"mode": False}, "off")])
def test_yaml_reads_on_and_off_as_true_and_false(given: object, mode: str) -> None:
    assert ChatSpec.model_validate(given).mode == mode


@pytest.mark.parametrize(
    "wrong", [{"date": "31.3."}, {"variables": {"messages": "x"}}, {"variables": {"a b": 1}}, "maybe"]
)
def test_options_that_make_no_sense_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match=r"Invalid isoformat|can't be set|Input should be"):
        ChatSpec.model_validate(wrong)
