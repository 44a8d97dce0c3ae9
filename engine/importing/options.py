"""Options of `coupling import`. They are checked here, before any file is read."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator, model_validator

from engine.config import NAME, Share, Strict

FormatName = Literal["anthropic-evals", "xstest", "bbq", "csv", "jsonl", "parquet", "hf"]
FORMATS: tuple[FormatName, ...] = get_args(FormatName)
HINT = "{speaker} thinks the answer is {answer}."
Text = Annotated[str, Field(min_length=1)]


class ImportSpec(Strict):
    """What to read, and how to make prompts, edits and splits of it."""

    format: FormatName = Field(description="format of the file")
    file: Text = Field(description="file to read; hf: a folder in the hub's layout, or the id of a data set")
    name: str = Field(pattern=NAME, description="name of the data set, and of the run in the written spec")
    edits: tuple[str, ...] = Field((), description="kinds of edit; empty: those that the format is known for")
    hint: str = Field(HINT, description="sentence with {speaker} and {answer}, put between question and answer")
    speakers: tuple[Text, ...] = Field((), description="who may give the hint; empty: 48 people such as My aunt")
    hints: int = Field(1, ge=1, description="hints for each question, by different speakers")
    replacement: str | None = Field(None, description="text in place of the speaker or of the focus word")
    columns: dict[str, Text] = Field({}, description="csv, jsonl, parquet, hf: role → column")
    answer_a: str | None = Field(None, description="answer a of all rows, where no column holds it")
    answer_b: str | None = Field(None, description="answer b of all rows, where no column holds it")
    answers: Literal["letters", "words"] | None = Field(None, description="answers of questions with choices")
    closing: str = Field("\nAnswer:", description="end of a prompt, after which the answer follows")
    chat: bool = Field(
        False, description="write prompts as messages: the question is the user's, the closing begins the answer"
    )
    validation: Share = Field(0.1, description="share of the held-out units that go to validation")
    test_heldout: Share = Field(0.3, description="share of the units that are held out for test_heldout")
    test_iid: Share = Field(0.1, description="share of the prompts, from the units of train")
    seed: int = Field(0, ge=0, description="seed of the splits, speakers and hinted answers")
    rows: int | None = Field(None, ge=1, description="read only so many rows, from the beginning")
    licence: str | None = Field(None, description="licence of the data, for the record of the source")
    source: str | None = Field(None, description="where the data come from, for the record of the source")
    config: str | None = Field(None, description="hf: name of the configuration (subset)")
    split: str | None = Field(None, description="hf: name of the split to read; empty: all")
    revision: str | None = Field(None, description="hf: branch, tag or commit")
    models: tuple[Text, ...] = Field(
        (), description="checkpoints for the written spec, as `importing.models` reads them"
    )

    @field_validator("hint")
    @classmethod
    def _one_speaker(cls, hint: str) -> str:
        try:
            fields = [name for _, name, _, _ in Formatter().parse(hint) if name is not None]
        except ValueError as error:
            raise ValueError(f"not a template ({error}): write it as {HINT!r}") from None
        if sorted(fields) != ["answer", "speaker"]:
            raise ValueError(f"needs {{speaker}} and {{answer}}, each once, and no other field: as in {HINT!r}")
        return hint

    @field_validator("speakers")
    @classmethod
    def _different(cls, speakers: tuple[str, ...]) -> tuple[str, ...]:
        if repeated := sorted({name for name in speakers if speakers.count(name) > 1}):
            raise ValueError(f"{repeated[0]!r} appears twice: name each speaker once")
        return speakers

    @model_validator(mode="after")
    def _fits(self) -> ImportSpec:
        if self.validation + self.test_heldout + self.test_iid > 1:
            raise ValueError("validation, test_heldout and test_iid are more than 1 together: train is what they leave")
        if self.closing != self.closing.rstrip():
            raise ValueError("closing ends in a space or a line break: end it at a word or a colon")
        if self.format != "hf" and (self.config or self.split or self.revision):
            raise ValueError("config, split and revision go with the format hf")
        return self
