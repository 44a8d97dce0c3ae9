"""What noise would break it, in words: for every kind, with the level that the numbers say; and what the null is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.reading import data
from dashboard.refit import cached
from dashboard.robustness import noise_words
from dashboard.robustness.noise_words import Break, lines
from tests.dashboard.app import Open
from tests.synthetic_run import write_run


def test_each_kind_has_its_line_and_what_breaks_at_once_has_one() -> None:
    null = (-0.1, 0.12)
    shuffle, flip, gaussian = lines(
        [
            Break("shuffle", 0.8, null, 0.72, 0.3),
            Break("flip", 0.8, null, 0.41, 0.2),
            Break("gaussian", 0.8, null, None, None),
        ]
    )
    assert shuffle.startswith("Shuffle breaks it at 72%: there Self enters the null band (−0.10 to 0.12).")
    assert "(0.80) are left until 30%" in shuffle and "Flip breaks it at 41%" in flip
    assert gaussian == "Gaussian: no level breaks it; at 100% Self is still above the null band (−0.10 to 0.12)."
    (only,) = lines([Break(kind, 0.05, null, 0.0, 0.0) for kind in noise_words.KINDS])
    assert only.startswith("Already without noise Self (0.05)")


def test_the_page_says_the_level_of_every_kind_and_explains_null_and_ceiling(tmp_path: Path, opened: Open) -> None:
    path = write_run(tmp_path / "noisy", prompts=120, checkpoints=4)
    app = opened(tmp_path, "robustness", run="noisy", kind="flip", checkpoint="gpt2--step-0000")
    assert not app.exception, app.exception[0].stack_trace
    own = {
        name: app.session_state[f"option_{name}"]
        for name in ("kind", "level", "layer_live", "penalty", "size", "seeds")
    }
    choice = cached.Choice(*own.values())
    place = cached.Place(path, "gpt2--step-0000", "frozen", "delete_cue", "test_heldout", data.stamp(path))
    said = next(m.value for m in app.markdown if m.value.startswith("- ")).replace("\\", "")
    at = {kind: cached.run(place, replace(choice, kind=kind)).breaks_at for kind in noise_words.KINDS}
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
