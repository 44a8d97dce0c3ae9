"""What is said of a checkpoint before it is built, and of one that diverged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.config import CheckpointSpec
from engine.model import sizes
from engine.model.checkpoints import CheckpointError, load
from engine.model.sizes import DivergedError
from tests.tiny_models import build


@pytest.fixture
def model(tmp_path: Path) -> Path:
    build("gpt2", tmp_path / "model")
    return tmp_path / "model"


def checkpoint(path: Path, **more: object) -> CheckpointSpec:
    return CheckpointSpec(name="gpt2--odd", path=str(path), **more)


def with_config(folder: Path, **changes: object) -> Path:
    about = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(about))
    return folder


def with_weight(folder: Path, value: float) -> Path:
    file = folder / "model.safetensors"
    weights = load_file(file)
    name = sorted(weights)[3]
    weights[name].view(-1)[0] = value
    save_file(weights, file, {"format": "pt"})
    return folder


@pytest.mark.parametrize("name", ["n_layer", "num_hidden_layers", "n_head", "num_local_experts"])
@pytest.mark.parametrize("value", [10**8, 1e30, -1])
def test_sizes_are_bounded_by_the_weights_before_anything_is_built(model: Path, name: str, value: float) -> None:
    for untrained in (False, True):
        with pytest.raises(CheckpointError, match=rf"config\.json: {name} = .* (too many|below 0)"):
            load(checkpoint(with_config(model, **{name: value}), untrained=untrained))


def test_a_config_without_weights_is_bounded_too(model: Path) -> None:
    (model / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="too many: at most 10,000"):
        load(checkpoint(with_config(model, n_layer=20_000), untrained=True))
    with pytest.raises(CheckpointError, match="GiB for its weights, and this machine has"):
        load(checkpoint(with_config(model, n_layer=2, n_positions=10**12), untrained=True))
    with_config(model, n_positions=64)
    assert load(checkpoint(model, untrained=True)).n_layers == 2


@pytest.mark.parametrize("text", ["[" * 5000, "[]", "{", "1"])
def test_a_config_that_is_none_is_said_to_be_none(model: Path, text: str) -> None:
    (model / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=r"config\.json is") as caught:
        load(checkpoint(model))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_a_model_that_diverged_is_said_to_have_diverged(model: Path, value: float) -> None:
    with pytest.raises(DivergedError, match=r"gpt2--odd .*NaN or infinity.*: the model diverged in training"):
        load(checkpoint(with_weight(model, value)))


def test_the_numbers_in_weights_are_counted_by_their_headers(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    assert sizes.held(model) == (len(weights), sum(w.numel() for w in weights.values()))
    shutil.copy(model / "model.safetensors", model / "model-2.safetensors")
    (model / "model.safetensors").write_bytes(b"x")
    assert sizes.held(model)[0] == len(weights)


def test_every_kind_of_weight_can_be_looked_at() -> None:
    model = torch.nn.ParameterDict({"empty": torch.zeros(0), "short": torch.ones(2, dtype=torch.bfloat16)})
    sizes.refuse_diverged(model)
    torch.nn.init.constant_(model["short"], float("-inf"))
    with pytest.raises(DivergedError, match=r"\(short\)"):
        sizes.refuse_diverged(model)
