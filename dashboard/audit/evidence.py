"""One self-contained file of evidence: every judged example with its edit, numbers, picture and verdicts, and where
all of it comes from. Plain HTML and inline SVG, to be opened anywhere in ten years.

Everything in it is escaped; it holds no script, and its Content-Security-Policy lets the browser load nothing. Pure.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dashboard.audit.effects_svg import effects_svg
from dashboard.audit.log import VERDICTS, Record, last_hash, sha256, standing_verdicts
from dashboard.audit.results import Kappa, MeanError
from dashboard.text import STYLE, bracketed, diff, escaped, signed

CSS = """
:root { color-scheme: light dark; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 58rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.4rem; } h3 { font-size: 1.05rem; }
article { border-top: 1px solid #8888; margin-top: 1.6rem; padding-top: 0.4rem; break-inside: avoid; }
table { border-collapse: collapse; margin: 0.6rem 0; display: block; overflow-x: auto; }
th, td { border-bottom: 1px solid #8886; padding: 0.25rem 0.9rem 0.25rem 0; text-align: left; vertical-align: top; }
th { font-weight: 600; } th + td { overflow-wrap: anywhere; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: 0.82rem; overflow-wrap: anywhere; } .small { font-size: 0.85rem; opacity: 0.8; }
.prompt { border-left: 3px solid #8888; padding-left: 0.8rem; } .comment { white-space: pre-wrap; }
svg { width: 100%; height: auto; max-width: 46rem; } svg text { fill: currentColor; font: 13px system-ui, sans-serif; }
""" + STYLE.removeprefix("<style>").removesuffix("</style>")

METHOD = (
    "Each reviewer was given examples from a queue drawn with a seed, equally from four quadrants of agreement, and "
    "saw the prompt, its edit and the present behavior f(x). Their prediction of the effect Δ = f(x′) − f(x) was "
    "recorded before the explanation and f(x′) were revealed; then they gave a verdict. All numbers are in nats. "
    "“−f(x), scaled” is what the present output alone says: a line of Δ target on f(x), fitted to the train split at "
    "the target. Reviewers gave their names themselves."
)


def evidence(
    records: Sequence[Record],
    *,
    run_hash: str,
    setting: str,
    provenance: Mapping[str, str],
    chain: str,
    errors: Sequence[MeanError] = (),
    kappas: Sequence[Kappa] = (),
) -> str:
    """The file's text. records: the whole log; chain: what `log.check` found, in words; provenance: label → value."""
    mine = [r for r in records if (r.run_hash, r.setting) == (run_hash, setting)]
    predictions: dict[int | None, Record] = {r.id: r for r in records if r.kind == "prediction"}
    verdicts = standing_verdicts(mine)
    by_example: dict[str, list[Record]] = {}
    for record in verdicts:
        by_example.setdefault(record.example_id, []).append(record)
    items = [_item(place, judged, predictions) for place, judged in enumerate(by_example.values(), start=1)]
    used = {r.refers_to for r in mine if r.kind == "verdict"}
    counts = Counter(r.verdict for r in verdicts)
    body = [
        "<h1>Audit of explanations</h1>",
        f"<p>{len(by_example)} examples judged, {len(verdicts)} standing verdicts by "
        f"{len({r.reviewer for r in verdicts})} reviewers.</p><p>{escape(METHOD)}</p>",
        "<h2>Where it comes from</h2>",
        _pairs({**provenance, "chain of records": chain, "last record of the log": last_hash(records)}),
        "<h2>What it adds up to</h2><h3>Verdicts, standing</h3>",
        _pairs({label: str(counts[verdict]) for verdict, label in VERDICTS.items()}),
        _errors(errors),
        _kappas(kappas),
        "<h2>Examples</h2>",
        *(items or ["<p>No example is judged yet.</p>"]),
        "<h2>Records</h2>",
        "<p class='small'>Every record of this setting, undone ones too. Each is sealed with a SHA-256 over its "
        "content and the seal of the record before it; nothing is ever changed or erased.</p>",
        _records([r for r in records if r in mine or r.id in used]),
    ]
    style = base64.b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>Audit of explanations</title><style>{CSS}</style></head>\n<body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _item(place: int, judged: Sequence[Record], predictions: Mapping[int | None, Record]) -> str:
    """One example with what each of its reviewers predicted and found."""
    shown: dict[str, Any] = json.loads(judged[0].shown)
    claims = [(r.reviewer, predictions[r.refers_to].predicted if r.refers_to in predictions else None) for r in judged]
    sayings = {
        "Δ target": shown["effect_target"],
        "explanation": shown["explanation"],
        "−f(x), scaled": shown["output"],
    }
    measured = shown["effect_current"]
    numbers = [("Δ current", signed(measured), "")]
    numbers += [
        (name, signed(value), "" if value is None else f"{abs(value - measured):.2f}")
        for name, value in [*sayings.items(), *((f"predicted by {who}", value) for who, value in claims)]
    ]
    verdicts = [
        (r.reviewer, VERDICTS.get(r.verdict or "", str(r.verdict)), r.comment, r.created, str(r.id)) for r in judged
    ]
    answers = f"log p(“{shown['answer_a']}”) − log p(“{shown['answer_b']}”)"
    pieces = (
        f"<article><h3>{place}. {escaped(shown['edit'])} · <code>{escaped(judged[0].example_id)}</code></h3>",
        f"<p class='small'>{escaped(shown['stratum'])} · f is {escaped(answers)} · f(x) = "
        f"{signed(shown['f_current'])}, f(x′) = {signed(shown['f_edited_current'])} nats</p>",
        diff(shown["prompt"], shown["edited"]).removeprefix(STYLE),
        f"<p class='prompt'>{escaped(shown['text'])}</p>" if shown.get("text") else "",
        effects_svg(shown, claims),
        _table(("What is said of Δ", "nats", "off Δ current by"), numbers, right=(1, 2)),
        _table(("Reviewer", "Verdict", "Comment", "When, UTC", "Record"), verdicts),
        f"<p class='small'>SHA-256 of what was shown: <code>{sha256(judged[0].shown)}</code></p></article>",
    )
    return "\n".join(pieces)


def _errors(errors: Sequence[MeanError]) -> str:
    if not errors:
        return ""
    rows = [(m.name, m.text, bracketed(m.low, m.high).replace("+", ""), str(m.n)) for m in errors]
    table = _table(("Mean error |Δ said − Δ current|", "nats", "95% interval", "examples"), rows, right=(1, 3))
    note = "Each quadrant counts by its share of all examples; intervals resample examples within quadrants."
    return f"<h3>Errors</h3>{table}<p class='small'>{note}</p>"


def _kappas(kappas: Sequence[Kappa]) -> str:
    if not kappas:
        return "<p>Agreement between reviewers: no example was judged by two of them yet.</p>"
    rows = [
        (f"{k.first} and {k.second}", signed(k.value), bracketed(k.low, k.high), f"{k.same} of {k.n}", k.words)
        for k in kappas
    ]
    names = ("Reviewers", "Cohen's kappa", "95% interval", "same verdict", "in words")
    return f"<h3>Agreement between reviewers</h3>{_table(names, rows, right=(1,))}"


def _records(records: Sequence[Record]) -> str:
    rows = [(str(r.id), r.kind, r.created, r.reviewer, r.example_id, _content(r), r.hash) for r in records]
    names = ("Id", "Kind", "When, UTC", "Reviewer", "Example", "Content", "SHA-256")
    return _table(names, rows, right=(0,), code=(4, 6))


def _content(record: Record) -> str:
    if record.kind == "prediction":
        return f"Δ = {signed(record.predicted)} nats, seed {record.seed}"
    if record.kind == "undo":
        return f"takes back record {record.refers_to}"
    return f"{VERDICTS.get(record.verdict or '', record.verdict)}, on prediction {record.refers_to}"


def _pairs(values: Mapping[str, str]) -> str:
    rows = "".join(f"<tr><th>{escaped(k)}</th><td>{escaped(v)}</td></tr>" for k, v in values.items() if v)
    return f"<table>{rows}</table>"


def _table(
    names: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = (), code: Sequence[int] = ()
) -> str:
    """right, code: places of the columns with numbers, and of those with code."""

    def cell(place: int, text: str) -> str:
        look = "number" if place in right else "comment" if names[place] == "Comment" else ""
        return f"<td class='{look}'>{f'<code>{escaped(text)}</code>' if place in code else escaped(text)}</td>"

    lines = ["".join(f"<th>{escaped(name)}</th>" for name in names)]
    lines += ["".join(cell(place, text) for place, text in enumerate(row)) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
