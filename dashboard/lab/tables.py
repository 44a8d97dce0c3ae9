"""The lab's results as tables. Pure: a Result in, DataFrames out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from dashboard.lab.measure import Reading, Result
from dashboard.text import visible

NUMBERS = ("f(x)", "f(x′)", "Δ", "Explanation", "Off by", "−f(x)")


def role(result: Result, reading: Reading) -> str:
    """target, current, or both."""
    if result.target is result.current:
        return "target and current"
    return "target" if reading is result.target else "current"


def effects(result: Result) -> pd.DataFrame:
    """One row for each checkpoint: its role, its name, and `NUMBERS` in nats; null where there is none."""
    rows = []
    for reading in result.readings:
        effect, said = reading.effect, reading.explanation
        off = None if effect is None or said is None else abs(said - effect)
        values = (reading.f, reading.f_edited, effect, said, off, -reading.f)
        rows.append([role(result, reading), reading.checkpoint, *(np.nan if v is None else v for v in values)])
    return pd.DataFrame(rows, columns=["Model", "Checkpoint", *NUMBERS])


def sentence_effects(result: Result) -> pd.DataFrame:
    """One row for each sentence: its text, and f without it less f(x) at each checkpoint, in nats."""
    texts = [result.question.prompt[slice(*span)] for span in result.sentences]
    columns = {f"Δ without it, {role(result, r)}": r.sentence_effects for r in result.readings}
    return pd.DataFrame({"sentence": texts, **columns})


def next_tokens(reading: Reading) -> pd.DataFrame:
    """One row for each token: its text, the answer that begins with it, and its probability after x and after x'."""
    following = reading.next
    columns = {"Token": [visible(t) for t in following.tokens], "Begins": following.answers}
    return pd.DataFrame(columns | dict(zip(("after x", "after x′"), following.probabilities, strict=False)))


def everything(result: Result) -> pd.DataFrame:
    """All results for the export, one number in each row: model, checkpoint, quantity, text, value, unit."""
    rows = []
    texts = sentence_effects(result)["sentence"]
    for reading, (_, numbers) in zip(result.readings, effects(result).iterrows(), strict=True):
        about = (role(result, reading), reading.checkpoint)
        rows += [(*about, name, "", numbers[name], "nats") for name in NUMBERS if pd.notna(numbers[name])]
        by_sentence = zip(texts, reading.sentence_effects, strict=True)
        rows += [(*about, "Δ without this sentence", text, value, "nats") for text, value in by_sentence]
        for name, probabilities in zip(("x", "x′"), reading.next.probabilities, strict=False):
            by_token = zip(reading.next.tokens, probabilities, strict=True)
            rows += [(*about, f"probability of the next token after {name}", token, p, "1") for token, p in by_token]
    frame = pd.DataFrame(rows, columns=["model", "checkpoint", "quantity", "text", "value", "unit"])
    question = result.question
    a, b = question.answers
    explainer = None if question.explainer is None else question.explainer.edit
    return frame.assign(prompt=question.prompt, edited=question.edited, answer_a=a, answer_b=b, explainer_of=explainer)


def recorded_difference(result: Result, row: Mapping) -> tuple[float, float | None]:
    """For an example of the run: the largest difference of f(x) and f(x') from the recorded values, and that of the
    explanation at the current checkpoint, both in nats; None if no explanation was recorded."""
    f = max(
        abs(float(row[f"{name}_{who}"]) - now)
        for who, reading in (("target", result.target), ("current", result.current))
        for name, now in (("f", reading.f), ("f_edited", reading.f_edited))
        if now is not None
    )
    said, known = result.current.explanation, row.get("explanation")
    return f, None if said is None or pd.isna(known) else abs(float(known) - said)
