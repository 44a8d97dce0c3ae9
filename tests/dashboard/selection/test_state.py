"""The selection: every value is checked against the run, and its parameters give it back."""

from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np
import pandas as pd
import pytest

from dashboard.reading import data
from dashboard.reading.slices import SIGNS, Lasso, Slice, SliceError, parse
from dashboard.selection.resolve import NAMES, Selection, resolve
from engine.runs.store import RunError

OPTIONS = data.Options(
    target="gpt2--a",
    checkpoints=("gpt2--a", "gpt2--b"),
    steps={"gpt2--a": 0, "gpt2--b": 100},
    explainers=("ridge", "mlp"),
    regimes={"ridge": ("frozen", "refit"), "mlp": ("online",)},
    layers=(2, 4),
    edits=("delete_cue", "mask_cue"),
    noises=(("none", 0.0), ("shuffle", 0.5)),
    splits=("validation", "test_heldout"),
    columns=("group", "meta_topic"),
)
RUNS = [
    data.RunEntry("broken", Path("/r/broken"), "unreadable", "cut off", "", ""),
    data.RunEntry("one", Path("/r/one"), "complete", None, "", "sycophancy"),
    data.RunEntry("two", Path("/r/two"), "complete", None, "", "refusal"),
]


def selected(**parameters: str) -> tuple[Selection, dict[str, str]]:
    return resolve(parameters, RUNS, lambda path: OPTIONS)


def test_defaults_are_the_last_checkpoint_of_the_first_sound_run() -> None:
    selection, complaints = selected()
    assert not complaints
    assert (selection.run.key, selection.checkpoint, selection.split) == ("one", "gpt2--b", "test_heldout")
    assert (selection.explainer, selection.regime, selection.noise_kind) == ("ridge", "frozen", "none")
    assert selection.edit is None and selection.layer is None


def test_parameters_give_the_selection_back() -> None:
    query = "run=two&second=one&checkpoint=gpt2--a&explainer=ridge&regime=refit&layer=4&noise=shuffle-0.5"
    query += "&split=validation&edit=mask_cue&slice=text:Rome;meta_topic:a|b&sort=error&example=0123&hash=abc"
    full = dict(parse_qsl(query))
    selection, complaints = selected(**full)
    assert not complaints
    assert selection.parameters() == full and tuple(full) == tuple(n for n in NAMES if n != "condition")
    assert selection.setting == data.Setting("gpt2--a", "ridge", "refit", "shuffle", 0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run", "../../etc"), ("checkpoint", "gpt2--z"), ("explainer", "<script>"), ("regime", "online"),
        ("layer", "3"), ("layer", "NaN"), ("noise", "shuffle-0.7"), ("split", "train"), ("edit", "x" * 5000),
        ("slice", "meta_secret:1"), ("slice", "nonsense"), ("slice", "error:inf..1"), ("sort", "1; DROP TABLE"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_and_replaced(name: str, value: str) -> None:
    selection, complaints = selected(**{name: value})
    assert set(complaints) == {name} and len(complaints[name]) < 300
    assert selection.parameters().get(name) != value


def test_a_run_without_explainers_is_said() -> None:
    empty = data.Options("t", ("t",), {"t": 0}, (), {}, (), (), (), (), ())
    with pytest.raises(RunError, match="no measured explainer"):
        resolve({}, RUNS, lambda path: empty)


@pytest.mark.parametrize(
    "part",
    [
        Slice(),
        Slice(name="Loud; pleas: 50%", text="a;b:c|d..e %20 é"),
        Slice(values={"group": ("x|y", "a;b"), "meta_topic": ("",)}),
        Slice(ranges={"explanation": (-1.5, None), "error": (None, 0.25), "f_target": (0.0, 0.0)}),
        Slice(text="x", lasso=Lasso("explanation", "effect_current", ((0, 0), (1, 0), (1, 1)))),
    ],
)
def test_a_slice_survives_its_text(part: Slice) -> None:
    again = parse(str(part), ("group", "meta_topic"))
    assert str(again) == str(part)
    assert (again.text, again.name) == (part.text, part.name)
    assert (dict(again.values), dict(again.ranges)) == (dict(part.values), dict(part.ranges))


@pytest.mark.parametrize("text", ["error:1", "error:a..b", "error:nan..1", "prompt:x", "lasso:1,2,3"])
def test_a_bad_slice_is_refused(text: str) -> None:
    with pytest.raises(SliceError):
        parse(text, ("group",))


def test_a_condition_has_explainers_of_its_own() -> None:
    options = replace(OPTIONS, varied={"beside the model": {"linear": ("online",)}})
    selection, complaints = resolve({"condition": "beside the model"}, RUNS, lambda path: options)
    assert not complaints
    assert (selection.explainer, selection.regime, selection.regimes) == ("linear", "online", ("online",))
    assert selection.setting.condition == selection.parameters()["condition"] == "beside the model"
    selection, complaints = resolve({"condition": "<b>"}, RUNS, lambda path: options)
    assert selection.condition is None and "none" in complaints["condition"]
    alone = replace(options, explainers=(), regimes={})
    assert resolve({}, RUNS, lambda path: alone)[0].condition == "beside the model"


def test_signs_cut_out_the_effects_that_flipped() -> None:
    rows = pd.DataFrame(
        {"explanation": [1, 1, -1, -1, np.nan], "effect_current": [2, 2, 2, 2, 2], "effect_target": [3, -3, -3, 3, 3]}
    )
    kept = {key: np.flatnonzero(parse(f"signs:{key}", ()).mask(rows)).tolist() for key in SIGNS}
    assert kept == {"both": [0], "current": [1], "target": [2], "neither": [3]}
    flipped = parse("signs:target|current", ())
    assert str(flipped) == "signs:current|target"
    assert flipped.mask(rows).tolist() == [False, True, True, False, False]
    with pytest.raises(SliceError, match="signs are both"):
        parse("signs:<b>", ())
