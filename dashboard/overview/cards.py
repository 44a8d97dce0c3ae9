"""The three questions of the overview with their answers, side by side; one below the other on a phone.

They are one piece of HTML: as twenty elements of Streamlit they would make the page slower.
"""

from __future__ import annotations

import pandas as pd

from dashboard.reading import findings
from dashboard.reading.findings import Finding
from dashboard.text import escaped

TONES = {
    True: ("✓", "shown", "#00639C", "#8CCBF0"),
    False: ("✕", "shown not to be so", "#A83F00", "#FF9E66"),
    None: ("◔", "", "#505860", "#B4BBC2"),
}
"""Whether a question is settled → mark, word (of an open one, its own), and colour on a light and on a dark page."""
MATCHED = ("◐", "a simple rule does as well", "#505860", "#B4BBC2")
"""In place of "shown", where a control that knows nothing of the edit does as well."""
AFTER = (
    "To follow the model is not yet to know it. A simple rule that reads the model's present answer alone, and knows "
    "nothing of the edit, moves with the model too. So the third question asks for more. None of the three answers "
    "says why, or what another model would do. See “Which look-alike fools which number” below."
)
STYLE = """<style>
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 1rem; }
.card { border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: 6px; padding: 0.9rem 1rem; }
.card h2 { margin: 0; padding: 0; font-size: 1rem; opacity: 0.8; }
.card .badge { display: inline-block; margin: 0.4rem 0 0; padding: 0 0.5rem; border-radius: 4px; font-size: 0.88rem;
  color: light-dark(var(--light), var(--dark));
  background: color-mix(in srgb, light-dark(var(--light), var(--dark)) 12%, transparent); }
.card .answer { margin: 0.4rem 0; font-size: 1.3rem; font-weight: 600; line-height: 1.25; }
.card .number { margin: 0 0 0.4rem; font-variant-numeric: tabular-nums; }
.card .asked { margin: 0; font-size: 0.9rem; opacity: 0.88; line-height: 1.5; }
.card details { margin-top: 0.5rem; font-size: 0.92rem; line-height: 1.5; }
.card summary { cursor: pointer; width: fit-content; }
.cards + p { margin: 0.8rem 0 0; font-size: 0.9rem; opacity: 0.8; line-height: 1.5; }
</style>"""


def cards(rows: pd.DataFrame, controls: pd.DataFrame) -> str:
    """HTML; rows and controls as in `findings`."""
    found = [answer(rows, controls) for answer in (findings.quality, findings.coupling, findings.unseen)]
    return f'{STYLE}<div class="cards">{"".join(map(_card, found))}</div><p>{escaped(AFTER)}</p>'


def _card(finding: Finding) -> str:
    mark, said, light, dark = MATCHED if finding.settled and finding.matched else TONES[finding.settled]
    why = f"<details><summary>Why</summary>{escaped(finding.why)}</details>" if finding.why else ""
    return (
        f'<div class="card"><h2>{escaped(finding.question)}</h2>'
        f'<span class="badge" style="--light: {light}; --dark: {dark}">'
        f'<span aria-hidden="true">{mark}</span> {said or escaped(finding.unsettled)}</span>'
        f'<p class="answer">{escaped(finding.answer)}</p><p class="number">{escaped(finding.number)}</p>'
        f'<p class="asked">{escaped(finding.sentence)}</p>{why}</div>'
    )
