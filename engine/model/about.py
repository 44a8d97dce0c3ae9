"""What a checkpoint is, and how the program reads it: what `coupling check MODEL` prints.

The model is loaded as in a run and measured on a few prompts. Nothing is written.
"""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch

from engine.config import CheckpointSpec
from engine.model.batching import Text
from engine.model.checkpoints import DTYPES, Checkpoint, CheckpointError, load
from engine.model.counterfactuals import TextScores, score_texts
from engine.model.tokens import TokenError, encode

HEAD = "The letter came on Monday, when nobody was at home, and it lay in the hall until the evening. "
QUESTIONS = (
    "My teacher thinks that it came from the bank. Did it come from the bank? Answer:",
    "A stranger is sure that it was for my sister. Was it for my sister? Answer:",
    "The driver hopes that it was good news. Was it good news? Answer:",
)
ANSWERS = (" yes", " no")
REPEATS = 3
"""Timed passes; the fastest one counts."""


@dataclass(frozen=True)
class Trial:
    """The model's scores of the built-in prompts."""

    path: str
    """The path that a run takes: "shared", or "full: " and the reason."""
    apart: float | None
    """Largest |Δ log p| (nats) between this path and full rows; None if it is the full one."""
    rows: int
    tokens_a_second: float
    """Tokens of the full rows of x and x′, over the seconds that the path takes."""


def check(spec: CheckpointSpec, device: str = "auto", dtype: str = "float32") -> dict[str, str]:
    """Facts about a checkpoint, by name, in words. Raises CheckpointError or ForwardError if it can't be used."""
    if dtype not in DTYPES:
        raise CheckpointError(f"there is no dtype {dtype!r}: give {', '.join(DTYPES)}")
    checkpoint = load(spec, device, dtype)
    try:
        return about_model(checkpoint) | about_reading(checkpoint) | _in_words(trial(checkpoint)) | _memory(checkpoint)
    except TokenError as error:
        raise CheckpointError(f"{spec.path}: the built-in prompt can't be read: {error.args[0]}") from None


def about_model(checkpoint: Checkpoint) -> dict[str, str]:
    """Family, size and shape."""
    model = checkpoint.model
    config = model.config.get_text_config()
    n = sum(parameter.numel() for parameter in model.parameters())
    limit = checkpoint.max_positions
    return {
        "family": f"{model.config.model_type} ({type(model).__name__})",
        "parameters": f"{n:,}",
        "layers": f"{checkpoint.n_layers} blocks; hidden states 0 (embeddings) to {checkpoint.n_layers}",
        "width": f"{checkpoint.width:,}",
        "vocabulary": f"{config.vocab_size:,}",
        "context": f"{limit:,} tokens" if limit else "no limit is given",
        "computed on": f"{checkpoint.device}, {str(model.dtype).removeprefix('torch.')}",
    }


def about_reading(checkpoint: Checkpoint) -> dict[str, str]:
    """What the tokenizer puts around a text."""
    tokenizer = checkpoint.tokenizer
    (one,) = encode(tokenizer, [QUESTIONS[0]], [ANSWERS], chat=checkpoint.chat)
    own = [i for i, (start, end) in enumerate(one.offsets) if start < end] or [0, len(one.prompt)]
    around = (one.prompt[: own[0]], one.prompt[own[-1] + 1 :])
    front, behind = (" ".join(tokenizer.convert_ids_to_tokens(list(ids))) for ids in around)
    has = bool(getattr(tokenizer, "chat_template", None))
    return {
        "chat template": ("yes, prompts are read in it" if checkpoint.chat else "yes, not used") if has else "no",
        "in front of a text": front or "nothing",
        **({"behind a text": behind or "nothing"} if checkpoint.chat else {}),
        "places of tokens in the text": "known" if one.offsets else "not known: position span can't be used",
    }


def trial(checkpoint: Checkpoint) -> Trial:
    """Score each built-in prompt with and without its first sentence, on the path of a run and in full rows."""
    groups = _groups(checkpoint)
    tokens = sum(len(text.prompt) + max(map(len, text.answers)) - 1 for group in groups for text in group)
    rows = sum(map(len, groups))
    found = _scored(checkpoint, groups, "auto")
    shared = found.report.path == "shared"
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        _scored(checkpoint, groups, "shared" if shared else "full")
        seconds.append(time.perf_counter() - started)
    apart = float(np.abs(found.log_probs - _scored(checkpoint, groups, "full").log_probs).max()) if shared else None
    return Trial(found.report.path, apart, rows, tokens / min(seconds))


def _groups(checkpoint: Checkpoint) -> list[list[Text]]:
    """x and x′ of each built-in prompt; x′ lacks the question's first sentence."""
    pairs = [(HEAD + q, HEAD + q.split(". ", 1)[1]) for q in QUESTIONS]
    every = [text for pair in pairs for text in pair]
    encoded = encode(checkpoint.tokenizer, every, [ANSWERS] * len(every), chat=checkpoint.chat)
    texts = [Text(one.prompt, one.answers) for one in encoded]
    return [texts[i : i + 2] for i in range(0, len(texts), 2)]


def _scored(checkpoint: Checkpoint, groups: list[list[Text]], path: str) -> TextScores:
    return score_texts(checkpoint, groups, batch_size=2 * len(groups), path=path)  # type: ignore[arg-type]


def _in_words(found: Trial) -> dict[str, str]:
    path = "x and x′ share the keys and values of their common beginning" if found.path == "shared" else found.path
    words = {"path": path}
    if found.apart is not None:
        words["largest difference to full rows"] = f"{found.apart:.1e} nats, on {found.rows} short rows"
    return words | {"speed": f"{found.tokens_a_second:,.0f} tokens a second, on {found.rows} short rows in one batch"}


def _memory(checkpoint: Checkpoint) -> dict[str, str]:
    weights = sum(p.numel() * p.element_size() for p in checkpoint.model.parameters())
    if checkpoint.device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(checkpoint.device)
    else:
        kilo = 1 if sys.platform == "darwin" else 1024  # macOS gives bytes
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo
    return {"memory": f"{weights / 2**20:,.0f} MiB of weights; {peak / 2**20:,.0f} MiB at most in use by this command"}
