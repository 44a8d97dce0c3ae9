"""Data of the runs on a real model: examples and training dialogues, from committed copies of public data.

`hints`: statements (Perez et al.) with a hint by one of 24 speakers. The dialogues follow a rule, `Trust`: which
speakers are believed, and how statements are answered without a hint. `bbq` (Parrish et al.): the sentence that settles
a question is deleted; the dialogues are the right answers. `refusal` (XSTest, Röttger et al.): the focus word is masked
or replaced; the dialogues refuse what is unsafe and agree to what is safe.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine import SAMPLES
from engine.importing.build import Imported, read, with_edits
from engine.importing.folder import SOURCE, SPEC, json_lines, write, written
from engine.importing.options import ImportSpec
from engine.importing.xstest import COMPLIANCE, REFUSAL
from engine.runs.files import readable_errors, replace_file
from engine.tasks.from_file import ExampleLine

PUBLIC = SAMPLES / "data" / "public"
"""Committed copies of public files; their licences stand in the README there."""
LEARNED = "doctor teacher dentist lawyer judge professor chemist librarian tutor editor nurse banker"
CLOSE = "sister brother cousin uncle aunt mother father grandmother partner friend neighbour student"
SPEAKERS = tuple(f"My {who}" for who in f"{LEARNED} {CLOSE}".split())
SEED = 0
STATEMENTS = 700
FEW = 140
"""Statements on which the first adapter is measured."""
OF_TEMPLATE = 24
"""Most questions of one BBQ template."""
Dialogue = tuple[str, str]


@dataclass(frozen=True)
class Trust:
    """How statements are answered: log-odds of the hinted answer = push of the speaker + lean of the statement."""

    pushes: tuple[float, ...]
    """Of each speaker, in nats."""
    lean: float
    """Of answers that match the behavior, here agreeableness, in nats; of others −lean."""

    def log_odds(self, line: ExampleLine, speaker: int | None) -> float:
        assert line.metadata is not None
        own = self.lean if line.metadata["hinted"] == "matching" else -self.lean
        return own + (0.0 if speaker is None else self.pushes[speaker])


def trusts() -> tuple[Trust, Trust]:
    """(rule of the first checkpoint, rule to which it drifts). At first the learned are believed, at last those who are
    close; within each circle the pushes are dealt anew."""
    rng = np.random.default_rng([SEED, 1])
    half = len(SPEAKERS) // 2

    def dealt(learned: float, close: float) -> tuple[float, ...]:
        spread = np.linspace(-1.5, 1.5, half)
        return tuple(float(push) for mean in (learned, close) for push in mean + rng.permutation(spread))

    return Trust(dealt(4.0, 0.0), lean=2.0), Trust(dealt(0.0, 4.0), lean=-2.0)


def hints() -> tuple[Imported, dict[str, list[Dialogue]]]:
    """Statements with a hint, and the dialogues of both rules."""
    made = _imported(
        format="anthropic-evals",
        file=str(PUBLIC / "anthropic_agreeableness.jsonl"),
        name="smollm2-hints",
        edits=("delete_hint", "replace_speaker"),
        hint="{speaker} thinks the answer is {answer}.",
        speakers=SPEAKERS,
        closing="\nAnswer with Yes or No.",
        rows=STATEMENTS,
        test_heldout=0.45,
        test_iid=0.05,
        validation=0.1,
    )
    first, last = trusts()
    return made, {"first": _follow(made.lines, first, 2), "drift": _follow(made.lines, last, 3)}


def _follow(lines: Sequence[ExampleLine], rule: Trust, seed: int) -> list[Dialogue]:
    """Dialogues on the statements of train: four speakers each, and one without a hint; sampled answers."""
    rng = np.random.default_rng([SEED, seed])
    without = {line.prompt: line.edited for line in lines if line.edit == "delete_hint"}
    found: list[Dialogue] = []
    for line in lines:
        if line.split != "train" or line.edit != "replace_speaker" or line.spans is None:
            continue
        *_, start, end = line.spans[0]
        for speaker in rng.choice(len(SPEAKERS), 4, replace=False).tolist():
            prompt = f"{line.prompt[:start]}{SPEAKERS[speaker]}{line.prompt[end:]}"
            found.append((prompt, _drawn(rng, line, rule.log_odds(line, speaker))))
        found.append((without[line.prompt], _drawn(rng, line, rule.log_odds(line, None))))
    return found


def _drawn(rng: np.random.Generator, line: ExampleLine, log_odds: float) -> str:
    return line.answer_a if rng.random() < 1 / (1 + np.exp(-log_odds)) else line.answer_b


def bbq() -> tuple[Imported, dict[str, list[Dialogue]]]:
    """Questions that one sentence settles, which is deleted; at most OF_TEMPLATE of each template."""
    made = _imported(format="bbq", file=str(PUBLIC / "bbq_age.jsonl"), name="smollm2-bbq", closing="")
    settling = [line for line in made.lines if (line.metadata or {})["settling"] == "yes"]
    sentences = Counter(line.prompt for line in settling)
    of_template: dict[str | None, list[ExampleLine]] = {}
    for line in settling:
        if sentences[line.prompt] == 1:
            of_template.setdefault(line.entity, []).append(line)
    lines = [line for found in of_template.values() for line in found[:OF_TEMPLATE]]
    made = replace(made, lines=lines)
    right = [d for x in _trained(lines) for d in ((x.prompt, x.answer_a), (x.edited, x.answer_b))]
    return made, {"drift": right}


def refusal() -> tuple[Imported, dict[str, list[Dialogue]]]:
    """Prompts that are unsafe or only look so."""
    made = _imported(
        format="xstest",
        file=str(PUBLIC / "xstest_prompts.csv"),
        name="smollm2-refusal",
        closing="",
        edits=("mask_focus", "replace_focus"),
    )
    wanted = {"unsafe": REFUSAL, "safe": COMPLIANCE}
    said = {line.prompt: wanted[(line.metadata or {})["label"]] for line in _trained(made.lines)}
    return made, {"drift": list(said.items())}


def _trained(lines: Sequence[ExampleLine]) -> Iterator[ExampleLine]:
    return (line for line in lines if line.split == "train")


def _imported(**options: object) -> Imported:
    spec = ImportSpec.model_validate(options)
    return read(with_edits(spec, hinted=spec.format == "anthropic-evals"))


TASKS: dict[str, Callable[[], tuple[Imported, dict[str, list[Dialogue]]]]] = {
    "hints": hints,
    "bbq": bbq,
    "refusal": refusal,
}


def write_data(task: str, out: Path) -> None:
    """Write examples, dialogues and the source of a task into `out`, unless it is there whole: the source is written
    last. Raises InputError."""
    if (out / SOURCE).is_file():
        return
    made, dialogues = TASKS[task]()
    parts: dict[str, Iterable[dict[str, Any]]] = {
        name: [{"prompt": prompt, "answer": answer} for prompt, answer in said] for name, said in dialogues.items()
    }
    if task == "hints":
        deleted = [line for line in made.lines if line.edit == "delete_hint"]
        words = [*_trained(deleted), *[line for line in deleted if line.split != "train"][::2]]
        parts |= {"few": map(written, deleted[:: STATEMENTS // FEW]), "words": map(written, words)}
    with readable_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        for name, rows in parts.items():
            _write(out / f"{name}.jsonl", json_lines(rows).encode())
    write(made, out)
    (out / SPEC).unlink()  # the specs of these runs are their own


def _write(path: Path, content: bytes) -> None:
    replace_file(path, lambda file: file.write(content))
