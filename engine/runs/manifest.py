"""`run.json` as typed data: bytes in, a checked record out. It may come from anybody, so size and depth are bounded."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StringConstraints,
    ValidationError,
)
from pydantic_core import from_json

from engine.config import RunSpec, of_an_earlier_record
from engine.records import FORMAT_VERSION
from engine.spec_files import first_problem, unstorable

LONGEST = 5_000_000
"""Bytes of the longest `run.json` that is read: that of 20,000 parts is shorter."""
MOST_VALUES = 400_000
LONGEST_NAME = 200
"""Characters of one step of a part's name. File systems allow 255 bytes, of which a temporary file needs some."""
KEPT = 128
"""Records that are kept once they are checked."""


def _inside(part: str) -> str:
    steps = PurePosixPath(part).parts
    if part != "/".join(steps) or len(steps) > 4 or any(len(step) > LONGEST_NAME or step == ".." for step in steps):
        raise ValueError("not a path inside the run")
    return part


PartName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+$"), AfterValidator(_inside)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Number = Annotated[float, Field(strict=True, ge=0, lt=1e12)]
"""A number that pages add up, and no text that looks like one."""


class _Told(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class Part(BaseModel):
    """A file of a run, as it was when it was written."""

    model_config = ConfigDict(extra="forbid")
    sha256: Sha256
    bytes: Annotated[StrictInt, Field(ge=0, lt=2**50)]
    rows: Annotated[StrictInt, Field(ge=0, lt=2**40)] | None = None


class Provenance(_Told):
    """What the run came from. Other facts may stand beside these."""

    content: dict[str, str] = {}
    packages: dict[str, str] = {}
    git_commit: str | None = None


class _PostTraining(_Told):
    steps: StrictInt
    layer: StrictInt | None = None


class Notes(_Told):
    """What was found on the way. Those that a resumed run relies on have types."""

    batch_size: dict[str, Annotated[StrictInt, Field(ge=1)]] = {}
    batch_tokens: dict[str, Annotated[StrictInt, Field(ge=1)]] = {}
    head: dict[str, Annotated[StrictInt, Field(ge=0)]] = {}
    halved: dict[str, Annotated[StrictInt, Field(ge=1, le=64)]] = {}
    tokens: dict[str, Annotated[StrictInt, Field(ge=0)]] = {}
    trial: dict[str, str] = {}
    forward_path: dict[str, str | list[str]] = {}
    post_training: _PostTraining | None = None
    losses: dict[str, dict[str, Number | None]] = {}
    weights: dict[str, Sha256] = {}
    diverged: dict[str, str] = {}


class Manifest(_Told):
    """`run.json` of this version or an earlier one."""

    format_version: Annotated[StrictInt, Field(ge=1, le=FORMAT_VERSION)]
    status: Literal["running", "complete", "failed"]
    spec: Annotated[RunSpec, BeforeValidator(of_an_earlier_record)]
    provenance: Provenance
    parts: dict[PartName, Part]
    notes: Notes
    timings: dict[str, Number]
    error: str = ""


@dataclass(frozen=True)
class Record:
    """A manifest that fits: plain data, with the spec's defaults filled in, and the spec."""

    data: dict[str, Any]
    spec: RunSpec

    def own(self) -> dict[str, Any]:
        """The plain data, for one owner: sections may be changed, what stands in them may only be replaced."""
        return {key: dict(value) if isinstance(value, dict) else value for key, value in self.data.items()}


@functools.lru_cache(maxsize=KEPT)
def parsed(raw: bytes) -> Record | str:
    """The record in the bytes of a `run.json`, or one line that says why it is none, without the file's name."""
    if len(raw) > LONGEST:
        return f"larger than {LONGEST:,} bytes: not the record of a run"
    try:
        data = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        deep = "recursion" in str(error)
        how = "nested too deeply" if deep else f"cut off, or not JSON: {str(error)[:200]}"
        return f"damaged ({how}): remove the folder and make the run again"
    version = data.get("format_version") if isinstance(data, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        return "not the record of a run (no format_version): give the folder of a run"
    if version > FORMAT_VERSION:
        known = f"this one reads up to {FORMAT_VERSION}"
        return f"written in format {str(version)[:20]} by a newer version, {known}: update this program"
    if problem := unstorable(data, MOST_VALUES):
        return f"damaged: {problem}"
    try:
        manifest = Manifest.model_validate(data)
    except ValidationError as error:
        return first_problem(error, "damaged")
    return Record(data | {"spec": manifest.spec.model_dump(mode="json")}, manifest.spec)
