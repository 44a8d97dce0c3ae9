"""The spec of a real run of seconds: two tiny models with random weights, and a few examples in a file."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from tests.tiny_models import build

PLACES = ("Rome", "Oslo", "Lima", "Cairo", "Quito", "Paris", "Accra", "Hanoi")
PEOPLE = ("A stranger", "My doctor", "A child")
SPLITS = ("train", "train", "validation", "test_heldout", "test_iid")


def examples(questions: int = 3) -> list[dict]:
    """24 examples of one kind of edit for each question, over 24 groups."""
    cells = [(p, w, k) for p in range(len(PLACES)) for w in range(len(PEOPLE)) for k in range(questions)]
    return [
        {
            "prompt": f"Question {k}: is it {PLACES[p]}? {PEOPLE[w]} says so. Answer:",
            "edited": f"Question {k}: is it {PLACES[p]}? Answer:",
            "edit": "delete_cue",
            "answer_a": " yes",
            "answer_b": " no",
            "split": SPLITS[(p * 3 + w + k) % 5],
            "group": f"{PLACES[p]} {w}",
        }
        for p, w, k in cells
    ]


def write_spec(folder: Path, name: str = "tiny", **changes: object) -> Path:
    """Models, examples and `spec.yaml` in a folder; the path of the spec."""
    for seed, checkpoint in enumerate(("first", "second")):
        if not (folder / checkpoint).exists():
            build("gpt2", folder / checkpoint, seed=seed)
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in examples()))
    spec = {
        "name": name,
        "task": {"name": "from_file", "path": "data.jsonl"},
        "checkpoints": [
            {"name": "gpt2--step-0000", "path": "first", "step": 0},
            {"name": "gpt2--step-0100", "path": "second", "step": 100},
        ],
        "hidden": {"layers": [1, -1]},
        "explainers": {"folds": 2},
        "noise": {"levels": [0, 0.5], "kinds": ["shuffle"], "seeds": 2},
        "metrics": {"bootstrap": 200, "verdict_draws": 200},
        "device": "cpu",
        "batch_size": 16,
    } | changes
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    return folder / "spec.yaml"
