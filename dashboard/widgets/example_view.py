"""One example on a page: its facts, its two texts, its effects in numbers, words and a small picture."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.charts import example_effects
from dashboard.reading import data
from dashboard.reading.example_rows import controls, nearer
from dashboard.selection.state import Selection
from dashboard.text import LONGEST, diff, escaped, plain, shown, signed
from dashboard.widgets import figures, parts, sentences

LONGEST_ANSWER = 300


def header(row: dict) -> None:
    metadata = {k.removeprefix("meta_"): v for k, v in row.items() if k.startswith("meta_") and pd.notna(v)}
    facts = {"edit": row["edit"], "split": row["split"], "group": row["group"], **metadata}
    pieces = "".join(
        f'<span style="overflow-wrap: anywhere"><span style="opacity: 0.65">{escaped(key)}</span>'
        f" {escaped(str(value)[:200])}</span>"
        for key, value in facts.items()
    )
    st.html(f'<div style="display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; font-size: 0.9rem">{pieces}</div>')


def texts(row: dict) -> None:
    """x and x′ side by side; what was taken out is struck through on the left, what was put in is underlined on the
    right."""
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.html('<h2 style="font-size: 1rem; padding: 0">Prompt x <small>(struck through: removed)</small></h2>')
        st.html(diff(row["prompt"], row["edited"], "before"))
    with right.container(border=True, height="stretch"):
        st.html('<h2 style="font-size: 1rem; padding: 0">Counterfactual x′ <small>(underlined: added)</small></h2>')
        st.html(diff(row["prompt"], row["edited"], "after"))
    whole_texts(row)
    a, b = shown(row["answer_a"])[:LONGEST_ANSWER], shown(row["answer_b"])[:LONGEST_ANSWER]
    parts.small_print(f"f is log p(“{a}”) − log p(“{b}”) after the prompt, in nats: above 0 the first is likelier.")


def whole_texts(row: dict) -> None:
    """What was too long to draw, as files."""
    long = [(name, row[column]) for name, column in (("prompt x", "prompt"), ("counterfactual x′", "edited"))
            if len(row[column]) > LONGEST]  # fmt: skip
    with st.container(horizontal=True):
        for name, text in long:
            st.download_button(
                f"Whole {name}", text, f"{row['example_id']}-{name.split()[0]}.txt", "text/plain", on_click="ignore",
                icon=":material/download:", key=f"whole_{name.split()[0]}", help=f"{len(text):,} characters",
            )  # fmt: skip


def effects(selection: Selection, row: dict) -> None:
    """The measured effects, the explanation and its error, in numbers, words and a small picture."""
    target, current = float(row["effect_target"]), float(row["effect_current"])
    said = None if pd.isna(row["explanation"]) else float(row["explanation"])
    output = -float(row["f_current"])
    numbers = [
        ("Δ target", target, None, "Effect of the edit on the target checkpoint: f(x′) − f(x)."),
        ("Δ current", current, None, "Effect of the edit on the current checkpoint: f(x′) − f(x)."),
        ("Explanation", said, said, "What the explainer says of the current checkpoint's effect, having seen x only."),
        ("−f(x) alone", output, output, "The control `output`: the present output, sign turned. It knows no edit."),
    ]
    in_words = bool(pd.notna(row["text"]))
    if in_words:
        words(row)
        numbers = numbers[:2]
    with st.container(horizontal=True):
        for label, value, claim, help_line in numbers:
            st.metric(
                f"{label}, nats",
                signed(value),
                delta=None if claim is None else f"off by {abs(claim - current):.2f} nats",
                delta_color="off",
                delta_arrow="off",
                help=help_line,
                width=165,
            )
    if not in_words:
        found = verdict(said, target, current, output)
        st.html(f'<p style="font-size: 1.05rem; margin: 0.3rem 0 0">{escaped(found)}</p>')
    picture, others = st.columns([3, 2])
    with picture:
        figures.draw(
            example_effects(
                (float(row["f_target"]), float(row["f_edited_target"])),
                (float(row["f_current"]), float(row["f_edited_current"])),
                said,
            ),
            key=f"example-{row['example_id']}",
            path=selection.path,
            alt=f"f moves from {row['f_target']:.2f} to {row['f_edited_target']:.2f} nats at the target and from "
            f"{row['f_current']:.2f} to {row['f_edited_current']:.2f} at the current checkpoint; explanation "
            f"{signed(said)}.",
        )
    with others:
        control_table(selection, row, current)
    parts.provenance(selection.path, extra=origin(selection, row))


def origin(selection: Selection, row: dict) -> str:
    """Which example, explained by what and at which checkpoint: what stands before the run's provenance."""
    layer = "" if pd.isna(row["layer"]) else f", layer {int(row['layer'])}"
    s = selection.setting
    noise = "" if s.noise_kind == "none" else f", trained with {s.noise:.0%} {s.noise_kind} noise"
    return f"example {row['example_id']} · {s.explainer}, {s.regime}{layer}{noise}, at {s.checkpoint}"


def words(row: dict) -> None:
    """The model's own sentence beside what it does and what the label says."""
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
    own, other = ("current model", "target") if which == "current" else ("target", "current model")
    near, far = (current, target) if which == "current" else (target, current)
    sentence = (
        f"The explanation is nearer to the {own}'s effect ({abs(said - near):.2f} nats away) than to the {other}'s "
        f"({abs(said - far):.2f})."
    )
    better = abs(output - current) <= abs(said - current)
    return sentence + (" −f(x) alone would have come at least as near to the current effect." if better else "")


def control_table(selection: Selection, row: dict, current: float) -> None:
    """What the controls said of the same example."""
    found = controls(selection.path, selection.setting, row["example_id"])
    found.setdefault("output", -float(row["f_current"]))
    names = list(found)
    table = pd.DataFrame(
        {
            "control": names,
            "says": [signed(found[n]) for n in names],
            "off by": [abs(found[n] - current) for n in names],
        }
    ).sort_values("off by", kind="stable")
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "control": st.column_config.TextColumn("Control", help="What stands in for an explanation"),
            "says": st.column_config.TextColumn("Says, nats"),
            "off by": st.column_config.NumberColumn("Off by, nats", format="%.2f"),
        },
        alt="What each control said of this example",
    )
