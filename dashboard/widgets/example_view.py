"""One example on a page: its facts, its two texts, its effects in numbers, words and a small picture; or as a card."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import PAGES, charts
from dashboard.reading import data
from dashboard.reading.example_rows import controls, example, nearer
from dashboard.selection.resolve import Selection, with_changes
from dashboard.text import LONGEST, diff, escaped, markdown_escaped, plain, shown, signed
from dashboard.widgets import figures, parts, sentences
from dashboard.widgets.html_table import html_table
from dashboard.widgets.number_tiles import Tile, number_tiles

PAGE = PAGES / "examples.py"
LONGEST_ANSWER = 300
PAIR = """<style>
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 12rem), 1fr)); gap: 1rem; }
.pair section { padding: 1rem; border: 1px solid color-mix(in srgb, currentColor 18%, transparent);
  border-radius: 6px; }
.pair h2 { font-size: 1rem; margin: 0 0 0.8rem; padding: 0; }
</style>"""


def header(row: dict) -> None:
    metadata = {k.removeprefix("meta_"): v for k, v in row.items() if k.startswith("meta_") and pd.notna(v)}
    facts = {"edit": row["edit"], "split": row["split"], "group": row["group"], **metadata}
    pieces = "".join(
        f'<span style="overflow-wrap: anywhere"><span style="opacity: 0.65">{escaped(key)}</span>'
        f" {escaped(str(value)[:200])}</span>"
        for key, value in facts.items()
    )
    st.html(f'<div style="display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; font-size: 0.9rem">{pieces}</div>')


def texts(row: dict, path: Path) -> None:
    """x and x′ side by side: deletions are struck through on the left, insertions underlined on the right. path: of the
    run."""
    titles = {
        "before": "Prompt x <small>(struck through: removed)</small>",
        "after": "Counterfactual x′ <small>(underlined: added)</small>",
    }
    sides = "".join(
        f"<section><h2>{title}</h2>{diff(row['prompt'], row['edited'], side)}</section>"
        for side, title in titles.items()
    )
    st.html(f'{PAIR}<div class="pair">{sides}</div>')
    whole_texts(row)
    a, b = shown(row["answer_a"])[:LONGEST_ANSWER], shown(row["answer_b"])[:LONGEST_ANSWER]
    parts.small_print(f"f is log p(“{a}”) − log p(“{b}”) after the prompt, in nats: above 0 the first is likelier.")
    if chatty := data.manifest(path)["notes"].get("chat"):
        parts.small_print(f"Read in their chat templates by {', '.join(chatty)}: what the templates add is not drawn.")


def whole_texts(row: dict) -> None:
    """Texts that are too long to draw, as files."""
    with st.container(horizontal=True):
        for name, text in (("prompt x", row["prompt"]), ("counterfactual x′", row["edited"])):
            if len(text) <= LONGEST:
                continue
            word = name.split()[0]
            file, size = f"{row['example_id']}-{word}.txt", f"{len(text):,} characters"
            look = {"icon": ":material/download:", "key": f"whole_{word}", "help": size}
            st.download_button(f"Whole {name}", text, file, "text/plain", on_click="ignore", **look)


def effects(selection: Selection, row: dict) -> None:
    """The measured effects, the explanation and its error, in numbers, words and a small picture."""
    target, current = float(row["effect_target"]), float(row["effect_current"])
    said = None if pd.isna(row["explanation"]) else float(row["explanation"])
    output = -float(row["f_current"])
    numbers = [
        ("Δ target", target, None, "Effect of the edit on the target checkpoint: f(x′) − f(x)."),
        ("Δ current", current, None, "Effect of the edit on the current checkpoint: f(x′) − f(x)."),
        ("Explanation", said, said, "What the explainer says of the current checkpoint's effect, having seen x only."),
        ("−f(x) alone", output, output, "The control “output”: the present output, sign turned. It knows no edit."),
    ]
    in_words = bool(pd.notna(row["text"]))
    if in_words:
        words(row)
        numbers = numbers[:2]
    tiles = []
    for label, value, claim, meaning in numbers:
        off = "" if claim is None else f"off by {abs(claim - current):.2f} nats"
        tiles.append(Tile(f"{label}, nats", meaning, signed(value), off))
    st.html(number_tiles(tiles))
    if not in_words:
        found = escaped(verdict(said, target, current, output))
        st.html(f'<p style="font-size: 1.05rem; margin: 0.3rem 0 0">{found}</p>')
    picture, others = st.columns([3, 2])
    with picture:
        effects_figure(selection, row, key=f"example-{row['example_id']}")
    with others:
        control_table(selection, row, current)
    parts.provenance(selection.path, extra=origin(selection, row))


def effects_figure(selection: Selection, row: dict, *, key: str) -> None:
    """Arrows of f at the target and the current checkpoint, and where the explanation points."""
    said = None if pd.isna(row["explanation"]) else float(row["explanation"])
    target, current = ((float(row[f"f_{who}"]), float(row[f"f_edited_{who}"])) for who in ("target", "current"))
    figures.draw(
        charts.example_effects(target, current, said),
        key=key,
        name=f"example-{row['example_id']}",
        path=selection.path,
        alt=f"f moves from {target[0]:.2f} to {target[1]:.2f} nats at the target and from {current[0]:.2f} to "
        f"{current[1]:.2f} at the current checkpoint; explanation {signed(said)}.",
    )


def origin(selection: Selection, row: dict) -> str:
    """The example, its explainer and checkpoint, for the line of provenance."""
    layer = "" if pd.isna(row["layer"]) else f", layer {int(row['layer'])}"
    s = selection.setting
    noise = "" if s.noise_kind == "none" else f", trained with {s.noise:.0%} {s.noise_kind} noise"
    return f"example {row['example_id']} · {s.explainer}, {s.regime}{layer}{noise}, at {s.checkpoint}"


def words(row: dict) -> None:
    """The model's own sentence beside the answers of both models and the label."""
    with st.container(border=True):
        st.html('<h2 style="font-size: 1rem; padding: 0">In its own words</h2>')
        st.html(plain(row["text"]))
        st.dataframe(sentences.table(row), hide_index=True, width="content", alt="Answers to x and x′, done and said")
        st.html(f'<p style="font-size: 1.05rem; margin: 0">{escaped(sentences.verdict(row))}</p>')


def verdict(said: float | None, target: float, current: float, output: float) -> str:
    """Which effect the explanation is nearer to, in a sentence."""
    which = nearer(said, target, current)
    if which == "undecidable":
        return (
            f"Undecidable: the target's and the current model's effects lie {abs(target - current):.2f} nats apart, "
            f"below the threshold of {data.UNDECIDABLE} nats, so no explanation can be told to follow one of them."
        )
    if said is None:
        return "This run keeps no number for this example in this setting."
    models = [("current model", current), ("target", target)]
    (own, near), (other, far) = models if which == "current" else models[::-1]
    sentence = (
        f"The explanation is nearer to the {own}'s effect ({abs(said - near):.2f} nats away) than to the {other}'s "
        f"({abs(said - far):.2f})."
    )
    better = abs(output - current) <= abs(said - current)
    return sentence + (" −f(x) alone would have come at least as near to the current effect." if better else "")


def control_table(selection: Selection, row: dict, current: float) -> None:
    """The controls' numbers for the same example."""
    found = controls(selection.path, selection.setting, row["example_id"])
    found.setdefault("output", -float(row["f_current"]))
    nearest = sorted(found.items(), key=lambda control: abs(control[1] - current))
    lines = [(name, signed(said), f"{abs(said - current):.2f}") for name, said in nearest]
    columns = {"Control": "What stands in for an explanation", "Says, nats": "", "Off by, nats": ""}
    st.html(html_table(columns, lines, label="What each control said of this example"))


def example_card(selection: Selection, identity: str) -> None:
    """An example in a few lines with a link to its page; says so where the run has no such example."""
    row = example(selection.path, selection.setting, identity)
    if row is None:
        st.info(f"This run has no explained example {markdown_escaped(identity)} in this setting.")
        return
    st.caption(" · ".join(markdown_escaped(row[name]) for name in ("edit", "group", "split")))
    st.html(diff(row["prompt"], row["edited"]))
    effects_figure(selection, row, key=f"card_{identity}")
    output = charts.number(-row["f_current"], sign=True)
    parts.small_print(
        f"Error of the explanation {charts.number(row['error'])} nats; −f(x) alone would have said {output}."
    )
    parts.provenance(selection.path, extra=origin(selection, row))
    if PAGE.exists():
        link = with_changes(selection, example=identity)
        st.page_link(PAGE, label="Open on the page Examples", icon=":material/open_in_new:", query_params=link)
