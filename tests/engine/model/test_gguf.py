"""A GGUF file is the model that was written into it: converted once, and refused in one line where it is damaged."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.config import CheckpointSpec
from engine.model import gguf
from engine.model.checkpoints import Checkpoint, CheckpointError, load
from tests.chat_templates import SMOLLM2
from tests.llama_gguf import write_gguf
from tests.tiny_models import TEXT, build

needs_gguf = pytest.mark.skipif(importlib.util.find_spec("gguf") is None, reason="the extra gguf is not installed")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return at(build("llama", tmp_path_factory.mktemp("llama")))


def at(path: Path) -> Checkpoint:
    return load(CheckpointSpec(name="llama--tiny", path=str(path)), "cpu")


def as_gguf(model: Checkpoint, path: Path, family: str = "llama") -> Path:
    """Write a llama with its tokenizer and a chat template."""
    words = model.tokenizer
    about = json.loads(words.backend_tokenizer.to_str())["model"]

    def add_words(writer: Any) -> None:
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(sorted(about["vocab"], key=about["vocab"].__getitem__))
        writer.add_token_types([3 if token == 0 else 1 for token in range(len(words))])  # a control token, normal ones
        writer.add_token_merges([" ".join(pair) for pair in about["merges"]])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(0)
        writer.add_add_bos_token(False)
        writer.add_chat_template(SMOLLM2)

    return write_gguf(model.model, path, add_words, family)


@needs_gguf
def test_it_is_the_model_that_was_written_and_is_converted_once(original, tmp_path, monkeypatch, capsys) -> None:
    file = as_gguf(original, tmp_path / "tiny.gguf")
    found = at(file)
    assert capsys.readouterr() == ("", ""), "no progress bar of the library"
    ids = torch.tensor([original.tokenizer(TEXT).input_ids])
    assert found.tokenizer(TEXT).input_ids == ids[0].tolist()
    torch.testing.assert_close(found.model(ids).logits, original.model(ids).logits, atol=1e-5, rtol=1e-4)
    assert found.spec.path == str(file) and found.chat is not None, "its chat template is there too"
    monkeypatch.setattr(gguf, "_convert", lambda *_: pytest.fail("it is converted already"))
    torch.testing.assert_close(at(file).model(ids).logits, found.model(ids).logits)


@needs_gguf
def test_a_file_that_is_cut_off_and_a_family_that_cant_be_read_are_told(original, tmp_path, caplog) -> None:
    whole = as_gguf(original, tmp_path / "whole.gguf").read_bytes()
    for share in (0.02, 0.6):
        (tmp_path / "cut.gguf").write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(CheckpointError, match=r"cut\.gguf: can't be read, is it cut off or damaged\?"):
            at(tmp_path / "cut.gguf")
    with pytest.raises(CheckpointError, match="transformers can't read its family from GGUF files"):
        at(as_gguf(original, tmp_path / "odd.gguf", family="nosuch"))
    assert not list((tmp_path / "cache").rglob("config.json")), "nothing is kept of them"
    assert "is converted once" not in caplog.text, "the error is the only line"


def test_what_is_no_gguf_file_is_told(original, tmp_path, monkeypatch) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        at(tmp_path / "none.gguf")
    (tmp_path / "text.gguf").write_text("hello")
    with pytest.raises(CheckpointError, match="is no GGUF file"):
        at(tmp_path / "text.gguf")
    (tmp_path / "empty.gguf").write_bytes(gguf.MAGIC)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"needs the extra gguf: pip install introspective-coupling\[gguf\]"):
        at(tmp_path / "empty.gguf")
