"""What was done in a run, in plain sentences before its numbers: what was trained, on which labels, and what moved."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dashboard.reading.data import Options
from dashboard.text import markdown_escaped, shown, signed

EXPLAINERS = {"ridge": "ridge, a linear regression", "linear": "a linear layer", "mlp": "a small neural network"}
REGIMES = {
    "frozen": "It was trained once, and stays as it is.",
    "refit": "It is trained anew at every checkpoint, on the same labels.",
    "online": "It is trained a little more at every checkpoint, on the same labels.",
}


def in_sentences(options: Options, explainer: str, regime: str, rows: pd.DataFrame) -> str:
    """Markdown. rows: the explainer's chosen metrics in the order of the checkpoints, with `step` and
    `target_current`, the correlation of the current model's effects with the labels."""
    target = f"`{shown(options.target).replace('`', '')}`"
    if explainer == "verbal":
        taught = (
            f"**The labels** are sentences that say what {target} answers after an edit. They were made once and never "
            "change. **The model itself** learnt to say them after reading the prompt alone."
        )
    else:
        who = f"a model at {target}" if options.target in options.checkpoints else f"another model, {target}"
        kind = EXPLAINERS.get(explainer, markdown_escaped(explainer))
        taught = (
            f"**The labels** say how an edit of the prompt changes the answer of {who}. They were made once and never "
            f"change. **An explainer** ({kind}) learnt to say them from hidden states on the unedited prompt alone. "
            f"{REGIMES.get(regime, '')} The hidden states that it reads are those of the model as it is now."
        )
    return f"{taught} {moved(rows)} So do the explanations repeat the labels, or do they follow the model as it is now?"


def moved(rows: pd.DataFrame) -> str:
    """How far the model has moved from the labels by the last checkpoint."""
    told = rows.dropna(subset=["target_current"])
    if told.empty:
        return "**The model** was then trained further."
    last = told.iloc[-1]
    correlation = f"{signed(last['target_current'])} (1 would be: nothing changed)"
    step = f" at step {int(last['step'])}" if np.isfinite(last["step"]) else ""
    return (
        "**The model** was trained further; the effects of edits on it now correlate with the labels by "
        f"{correlation}{step}."
    )
