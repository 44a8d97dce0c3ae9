"""What was done in a run, in plain sentences before its numbers: the labels, the explainer, and how the model moved."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dashboard.reading.data import Options
from dashboard.reading.glossary import term
from dashboard.text import escaped, signed

EXPLAINERS = {
    "ridge": "A linear regression (ridge)",
    "linear": "A linear layer",
    "mlp": "A small neural network",
}
REGIMES = {
    "frozen": "It was trained once and never changed.",
    "refit": "It is trained anew at every checkpoint, always on the same labels.",
    "online": "It is trained a little more at every checkpoint, always on the same labels.",
}


def in_steps(options: Options, explainer: str, regime: str, rows: pd.DataFrame) -> str:
    """HTML, a list of three steps and the question they lead to.

    rows: the explainer's chosen metrics in the order of the checkpoints, with `step` and `target_current`, the
    correlation of the current model's effects with the labels.
    """
    who = "" if options.target in options.checkpoints else "another model, "
    target = f"{who}<code>{escaped(options.target)}</code> (the {term('target')})"
    if explainer == "verbal":
        labels = f"Sentences that say what {target} answers after an edit of a prompt. They never change."
        name, learnt = "Explanations", "The model itself was trained to say these sentences after the unedited prompt."
    else:
        labels = f"How much an edit of a prompt changes the answer of {target}, measured once. They never change."
        kind = EXPLAINERS.get(explainer, escaped(explainer))
        name = "Explainer"
        learnt = (
            f"{kind} was trained to predict these labels from the model's {term('hidden states')} while it reads the "
            f"unedited prompt. {REGIMES.get(regime, '')} What it reads is the model of the checkpoint that it explains."
        )
    steps = (("Labels", labels), (name, learnt), ("Drift", moved(rows)))
    items = "".join(f"<li><b>{title}.</b> {said}</li>" for title, said in steps)
    return (
        f'<ol class="steps">{items}</ol><p class="steps">So do the explanations repeat the old labels, or do they '
        "follow the model as it is now?</p>"
    )


def moved(rows: pd.DataFrame) -> str:
    """How far the model has moved from the labels by the last checkpoint."""
    told = rows.dropna(subset=["target_current"])
    if told.empty:
        return "The model was trained further."
    last = told.iloc[-1]
    step = f", to step {int(last['step'])}" if np.isfinite(last["step"]) else ""
    return (
        f"The model was trained further{step}. What the edits do to it now correlates with the labels by "
        f"{signed(last['target_current'])} (1: nothing has changed; 0: unrelated)."
    )
