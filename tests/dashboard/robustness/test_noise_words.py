"""What noise would break it, in words: for every kind, with the level that the numbers say; and what the null is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dashboard.reading import data
from dashboard.refit import cached
from dashboard.robustness import noise_words
from tests.dashboard.app import Open
from tests.synthetic_run import write_run


def refit(levels: tuple[float, ...], own: tuple[float, ...]) -> cached.Refit:
    return cached.Refit(pd.DataFrame({"noise": levels, "self": own}), np.empty(0), (-0.1, 0.12), 0.9)


def test_a_line_says_where_self_enters_the_null_band() -> None:
    breaks = noise_words.line("Flip", refit((0, 0.3, 0.72), (0.8, 0.72, 0.12)), "NULL")
    assert breaks.startswith("Flip breaks it at 72%: there Self enters the null band (NULL).")
    assert breaks.endswith("Nine tenths of its noise-free Self (0.80) are left until 30%.")
    survives = noise_words.line("Flip", refit((0, 1), (0.8, 0.79)), "NULL")
    assert survives == "Flip: no level breaks it; at 100% Self is still above the null band (NULL)."


def test_what_is_broken_without_noise_has_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = refit((0, 1), (0.05, 0.0))
    monkeypatch.setattr(cached, "refit", lambda case, sliders: found)
    (only,) = noise_words.lines(None, cached.Sliders("flip", 0.5, 1, 1.0, 10, 1), found)
    assert only == "Already without noise Self (0.05) is not above the null band (−0.10 to 0.12)."


def test_the_page_says_the_level_of_every_kind_and_explains_null_and_ceiling(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "noisy", prompts=120, checkpoints=4)
    app = opened(tmp_path, "robustness", run="noisy", kind="flip", checkpoint="gpt2--step-0000")
    names = ("kind", "level", "layer_live", "penalty", "size", "seeds")
    sliders = cached.Sliders(*(app.session_state[f"option_{name}"] for name in names))
    case = cached.RefitCase(path, "gpt2--step-0000", "frozen", "delete_cue", "test_heldout", data.stamp(path))
    said = next(m.value for m in app.markdown if m.value.startswith("- ")).replace("\\", "")
    at = {kind: cached.refit(case, replace(sliders, kind=kind)).breaks_at for kind in noise_words.KINDS}
    assert at["flip"] is not None and 0 < at["flip"] < 1
    for kind, name in noise_words.KINDS.items():
        told = f"{name}: no level breaks it" if at[kind] is None else f"{name} breaks it at {at[kind]:.0%}: "
        assert told in said
    assert said.count("**") == 2 and "**Flip breaks it" in said
    sentence = next(m for m in app.markdown if m.value.startswith("At 50%"))
    assert "Orig" in sentence.help
    explained = "".join(c.value for c in app.caption)
    assert "Null: the 95% band" in explained and "Ceiling: Self of the same probe" in explained


@pytest.mark.parametrize("page", ["robustness", "trajectory", "correlation", "overview"])
def test_controls_of_several_choices_wrap(tmp_path: Path, opened: Open, page: str) -> None:
    write_run(tmp_path / "wide", prompts=60, checkpoints=3)
    app = opened(tmp_path, page, run="wide")
    groups = app.get("button_group")
    assert groups and all(group.proto.wrap for group in groups)
