"""The verdicts of a run as a table in HTML, a row for each checkpoint."""

from __future__ import annotations

import pandas as pd

from dashboard.reading import findings
from dashboard.widgets.html_table import html_table

COLUMNS = {
    "checkpoint": ("Checkpoint", "The current model"),
    "target_current": ("ρ", "Correlation of the current model's effects with the target's. 1: behavior is unchanged"),
    "self": ("Self", "Agreement of the explanation with the current model's effect, with a 95% interval"),
    "orig": ("Orig", "Agreement of the explanation with the target's effect"),
    "gap": ("Gap", "Self − Orig"),
    "verdict_coupling": ("Gap: verdict", "Whether the gap and Self lie above 0, in bands over all checkpoints"),
    "unseen": ("Unseen", "Correlation with f(x′), beyond f(x) now and beyond f(x) and f(x′) of the target"),
    "unseen_over_stale": ("Over stale", "Unseen, minus that of the same explainer on the target's hidden states"),
    "verdict_unseen": ("Unseen: verdict", "Whether Unseen and Over stale lie above 0, in bands over all checkpoints"),
    "unseen_over_outputs": ("Over all outputs", "Unseen, beyond the outputs of the other prompts too"),
    "verdict_outputs": ("All outputs: verdict", "Whether all three lie above 0: Unseen, Over stale, Over all outputs"),
    "self_minus_stale": ("Self − stale", "Self minus that of the same explainer on the target's hidden states"),
}
"""Column of the metrics → (label, help)."""


def verdict_table(rows: pd.DataFrame) -> str:
    """HTML. rows: metrics of one explainer, in the order of the checkpoints."""
    lines = [[_cell(row, name) for name in COLUMNS] for row in rows.to_dict("records")]
    return html_table(dict(COLUMNS.values()), lines, label="Verdicts at each checkpoint")


def _cell(row: dict, name: str) -> str:
    if name == "checkpoint" or name.startswith("verdict_"):
        return str(row[name]) if isinstance(row[name], str) else "–"
    return findings.estimate(row, name)
