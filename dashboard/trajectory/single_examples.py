"""Single examples over the checkpoints, and the ranking of the edits of one prompt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial

import pandas as pd
import streamlit as st
from scipy.stats import kendalltau

from dashboard import charts
from dashboard.charts import Series, style
from dashboard.reading import moves
from dashboard.reading.example_rows import example, same_prompt
from dashboard.selection.on_screen import offered
from dashboard.selection.state import Selection, bound
from dashboard.text import markdown_escaped, shown
from dashboard.trajectory import edit_ranking
from dashboard.widgets.figures import about, chosen, keep, show
from engine.records import spans_of

MOST_DRAWN = 6
"""Examples drawn at once."""


def single_examples(selection: Selection) -> None:
    """Both effects and the explanation of single examples, step by step."""
    picked, titles = pick(selection)
    if not picked:
        return
    many = "1 example" if len(picked) == 1 else f"{len(picked)} examples"
    path = moves.over_checkpoints(selection.path, selection.setting, picked)
    figure, origin = charts.example_moves(path, picked, [titles[i] for i in picked]), _explainer(selection)
    alt = f"Effects of the current model and explanations of {many} over the checkpoints, in nats."
    show(figure, key="moves", path=selection.path, about=origin, alt=alt, table=path)


def features(selection: Selection) -> None:
    """How well explanations rank the edits of a prompt: on average, and for the prompt of a picked example."""
    mean_ranking(selection)
    picked, titles = pick(selection)
    if picked:
        within_prompt(selection, picked, titles)


def pick(selection: Selection) -> tuple[list[str], dict[str, str]]:
    """The examples that the reader picks, kept in the URL, and the titles of all that are offered."""
    asked = list(dict.fromkeys(filter(None, st.query_params.get("examples", "").split(","))))
    titles = offered(selection, [i for i in (*asked[:MOST_DRAWN], selection.example) if i])
    if not titles:
        st.info("No explanations were kept for this setting: choose another explainer, regime, edit or split.")
        return [], titles
    say_not_drawn(asked, titles)
    given = [i for i in asked[:MOST_DRAWN] if i in titles]
    start = dict.fromkeys([i for i in (selection.example, *list(titles)[:3]) if i in titles])
    help_line = (
        "The list has the examples whose effect moved most from the target to the current checkpoint, and any example "
        "that a link names. Type to search."
    )
    look = {"format_func": titles.get, "max_selections": MOST_DRAWN, "help": help_line}
    widget, value = partial(st.multiselect, "Examples", list(titles), **look), given or list(start)[:3]
    picked = bound(
        widget, key="option_examples", value=value, change=lambda ids: keep("examples", ",".join(ids) or None)
    )
    if not picked:
        st.caption("Choose an example to see it move.")
    return picked, titles


def _explainer(selection: Selection) -> str:
    return f"{selection.explainer}, {selection.regime}"


def say_not_drawn(asked: Sequence[str], known: Collection[str]) -> None:
    """Say which examples of a link are left out."""
    unknown = [i[:64] for i in asked[:MOST_DRAWN] if i not in known]
    if unknown:
        st.warning(markdown_escaped(f"This run has no example {', '.join(unknown)}."), icon=":material/link_off:")
    if len(asked) > MOST_DRAWN:
        st.caption(f"The link names {len(asked):,} examples. The page draws the first {MOST_DRAWN}.")


def mean_ranking(selection: Selection) -> None:
    """Mean rank agreement over prompts at every checkpoint, a line for each regime."""
    settings = {r: replace(selection.setting, regime=r, checkpoint="") for r in selection.regimes}
    found = {r: edit_ranking.over_checkpoints(selection.path, s, selection.split) for r, s in settings.items()}
    found = {regime: rows for regime, rows in found.items() if len(rows)}
    if not found:
        return
    series = [
        Series(rows, "tau", regime, replace(style.EXPLANATION, dash=dash), label=regime)
        for (regime, rows), dash in zip(found.items(), style.DASHES, strict=False)
    ]
    table = pd.concat(found.values())
    ends = "; ".join(
        f"{regime} {charts.interval(*rows.iloc[-1][['tau', 'tau_low', 'tau_high']])}" for regime, rows in found.items()
    )
    figure = charts.trajectory(series, panels=("Kendall's τ, mean over prompts",), height=320)
    figure.add_hline(y=0, line={"color": style.GREY, "width": 1})
    note = f"{int(table['n'].iloc[0]):,} prompts with two edits or more; bands 95% bootstrap by group"
    origin = about(selection, n_groups=int(table["n_groups"].iloc[0]), note=note)
    alt = "Within-prompt rank agreement of explanations with measured effects over the checkpoints; at the last: "
    show(figure, key="ranking", path=selection.path, about=origin, alt=f"{alt}{ends}.", table=table)
    st.caption("1: a prompt's edits are ranked as measured. 0: at random. Each kind of edit has its own explainer.")


def edits_of(selection: Selection, checkpoint: str, prompt_id: int) -> pd.DataFrame:
    """The explained edits of one prompt at a checkpoint, with `feature`: the kind of edit and the words it touches."""
    rows = same_prompt(selection.path, replace(selection.setting, checkpoint=checkpoint), prompt_id)
    rows = rows[rows["explanation"].notna()]
    words = [
        " … ".join(prompt[a:b] for a, b in spans_of(spans)).strip()
        for prompt, spans in zip(rows["prompt"], rows["spans"], strict=True)
    ]
    rows = rows.assign(feature=[f"{edit}: “{shown(text)}”" for edit, text in zip(rows["edit"], words, strict=True)])
    again = rows.groupby("feature").cumcount()
    numbered = rows["feature"] + " (" + (again + 1).astype(str) + ")"
    return rows.assign(feature=rows["feature"].where(again == 0, numbered))


def within_prompt(selection: Selection, picked: list[str], titles: dict[str, str]) -> None:
    """The edits of one prompt by explained and by measured effect, at the first and the current checkpoint."""
    first, change = chosen("prompt", picked, picked[0]), lambda i: keep("prompt", i)
    help_line = "Ranks all edits of the prompt of this example."
    widget = partial(st.selectbox, "Prompt of", picked, format_func=titles.get, help=help_line)
    identity = bound(widget, key="option_prompt", value=first, change=change)
    row = example(selection.path, selection.setting, identity)
    if row is None:
        return
    names = dict.fromkeys((selection.options.checkpoints[0], selection.checkpoint))
    found = {name: edits_of(selection, name, int(row["prompt_id"])) for name in names}
    n_edits = len(found[selection.checkpoint])
    if n_edits < 2:
        st.caption("This prompt has a single edit: there is nothing to rank.")
        return
    taus = {name: kendalltau(rows["explanation"], rows["effect_current"]).statistic for name, rows in found.items()}
    heads = [f"{name}: τ = {charts.number(tau)}" for name, tau in taus.items()]
    columns = ["example_id", "edit", "effect_current", "explanation"]
    figure, origin = charts.prompt_features(list(found.values()), heads), _explainer(selection)
    alt = f"Measured effects and explanations of {n_edits} edits of one prompt. Kendall's τ, {'; '.join(heads)}."
    table = pd.concat([rows[columns].assign(checkpoint=name) for name, rows in found.items()])
    origin += f" · one prompt, {n_edits} edits"
    show(figure, key="prompt", path=selection.path, about=origin, alt=alt, table=table)
    st.caption(
        "τ over the edits of this prompt, at the first checkpoint and at the current one; largest effect on top."
    )
