"""The results of a run in the lab, with what casts doubt on them."""

from __future__ import annotations

from typing import Any

import streamlit as st

from dashboard.charts.examples import Arrow, arrows, sentence_bars
from dashboard.lab import start, tables
from dashboard.lab.measure import MOST_SENTENCES, Question, Reading, Result
from dashboard.lab.text import label
from dashboard.selection.state import Selection
from dashboard.text import escaped, markdown_escaped, plain, shown
from dashboard.widgets import parts
from dashboard.widgets.example_view import verdict, words
from dashboard.widgets.figures import show
from dashboard.widgets.on_demand import warn_of_another_model

HELP = {
    "f(x)": "Behavior at the prompt: log p(a) − log p(b), in nats. Above 0, answer a is likelier.",
    "f(x′)": "The same after the edit.",
    "Δ": "The effect of the edit: f(x′) − f(x), in nats.",
    "Explanation": "The run's frozen explainer's prediction of Δ, from h(x) at this checkpoint. It never sees x′.",
    "Off by": "|explanation − Δ|, in nats.",
    "−f(x)": "The control `output`: the present output alone. An explanation no nearer to Δ has shown nothing.",
}
STALE = "<style>.st-key-lab_stale { opacity: 0.45; }</style>"
"""Numbers of other inputs than those above them are dimmed."""


def results(selection: Selection, result: Result, asked: Question | None) -> None:
    """All measurements. asked: the question that the controls ask now; the page says so if it is another one."""
    st.subheader("What both checkpoints do", divider="grey", anchor=False)
    if result.question != asked:
        st.info(
            "The inputs have changed since: these numbers are of run "
            f"{markdown_escaped(result.question.path.name)}, {markdown_escaped(result.current.checkpoint)}, and of "
            f"“{markdown_escaped(label(result.question.prompt, 100))}”. Press Run for the present ones.",
            icon=":material/history:",
        )
        st.html(STALE)
    with st.container(key="lab_stale" if result.question != asked else "lab_fresh"):
        _all(selection, result)


def _all(selection: Selection, result: Result) -> None:
    row = _recorded(selection, result)
    _warnings(result, known=row is not None)
    _effects(result)
    if row is not None:
        _against_the_record(result, row)
    _verdict(result)
    _words(result)
    _picture(result)
    _sentences(result)
    _next_tokens(result)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**All of this as a table**", width="content")
        parts.downloads(lambda: tables.everything(result), f"{result.question.path.name}-lab", "lab")


def _recorded(selection: Selection, result: Result) -> dict | None:
    """The example of the run that was asked about; None for another prompt."""
    question = result.question
    if question.path != selection.path or question.checkpoints[1] != selection.checkpoint:
        return None
    return start.recognised(selection, question.prompt, question.edited, question.answers)


def far_out(checkpoint: str, known: bool) -> str:
    """Says that a hidden state is an outlier for the explainer. known: the prompt is one of the run's own."""
    if known:
        return f"At {checkpoint} the hidden state of this prompt is among the 1% farthest out of the run's own."
    return (
        f"At {checkpoint} this prompt is unlike the run's: its hidden state lies farther out than those of 99% of "
        "them, so the explanation is an extrapolation."
    )


def _warnings(result: Result, known: bool) -> None:
    for reading in result.readings:
        name, n_shared = reading.checkpoint, reading.next.shared
        if reading.as_measured is False:
            warn_of_another_model(name)
        if n_shared:
            _note(
                f"At {name} both answers begin with the same {n_shared} token{'s' if n_shared > 1 else ''}: f compares "
                "only what comes after, and the next tokens below don't tell the answers apart.",
            )
        if result.question.explainer is not None and reading.explanation is None:
            _note(f"The explainer reads the hidden states of another model than {name}: there is no explanation at it.")
        if reading.unlike:
            _note(far_out(name, known))
    if result.target is result.current:
        _note("The target and the current checkpoint are the same here: choose a later one to see behavior move.")


def _note(text: str) -> None:
    st.info(markdown_escaped(text), icon=":material/info:")


def _effects(result: Result) -> None:
    table = tables.effects(result)
    table = table.assign(Checkpoint=[shown(name) for name in table["Checkpoint"]])
    number = {n: st.column_config.NumberColumn(format="%+.3f", help=HELP[n]) for n in tables.NUMBERS}
    number["Off by"] = st.column_config.NumberColumn(format="%.3f", help=HELP["Off by"])
    alt = "f(x), f(x′), their difference, the explanation and its error at both checkpoints, in nats"
    st.dataframe(table, hide_index=True, key="lab_effects", column_config=number, placeholder="–", alt=alt)
    a, b = (shown(answer) for answer in result.question.answers)
    line, kind = f"In nats. f is log p(“{a}”) − log p(“{b}”) after the prompt.", result.question.explainer
    if kind is not None:
        line += f" Explanation: frozen ridge for {kind.edit}, layer {kind.layer}, penalty {kind.penalty:g}."
    parts.small_print(line)


def _against_the_record(result: Result, row: dict) -> None:
    """For an example of the run: the difference of this measurement from the recorded one."""
    question = result.question
    f, explanation = tables.recorded_difference(result, row)
    said = ""
    if explanation is not None and question.explainer is not None and question.explainer.edit == row["edit"]:
        said = f", the explanation by {explanation:.4f}"
    st.caption(
        f"This is example {row['example_id']} of the run ({markdown_escaped(row['edit'])}, "
        f"{markdown_escaped(row['split'])}). The recorded values differ from these by "
        f"{f'{f:.5f}' if f >= 1e-5 else 'less than 0.00001'} nats in f{said}."
    )


def _verdict(result: Result) -> None:
    said, current, target = result.current.explanation, result.current, result.target
    if said is None or current.effect is None or target.effect is None or target is current:
        return
    sentence = verdict(said, target.effect, current.effect, -current.f)
    st.html(f'<p style="font-size: 1.05rem; margin: 0.3rem 0 0">{escaped(sentence)}</p>')


def _words(result: Result) -> None:
    """What the current checkpoint says of itself, beside what both do."""
    question, current, target = result.question, result.current, result.target
    if current.words is None or current.f_edited is None or target.f_edited is None:
        if current.words is not None:
            st.html(plain(current.words))
        return
    row: dict[str, Any] = {"task": start.task(question.path), "text": current.words, "edit": question.words}
    row |= dict(zip(("answer_a", "answer_b"), question.answers, strict=True))
    row |= {"f_target": target.f, "f_edited_target": target.f_edited}
    words(row | {"f_current": current.f, "f_edited_current": current.f_edited})


def _picture(result: Result) -> None:
    rows = [Arrow(r is result.target, r.f, r.f_edited, r.explanation) for r in result.readings]
    described = "; ".join(
        f"{tables.role(result, r)}: f(x) {r.f:.2f}"
        + ("" if r.f_edited is None else f", f(x′) {r.f_edited:.2f}")
        + ("" if r.explanation is None else f", explanation {r.explanation:+.2f}")
        for r in result.readings
    )
    origin, alt = _about(result), f"In nats, {described}."
    show(arrows(rows), key="lab_arrows", alt=alt, path=result.question.path, about=origin)


def _about(result: Result) -> str:
    return f"one prompt, {' and '.join(r.checkpoint for r in result.readings)}"


def _sentences(result: Result) -> None:
    st.subheader("What each sentence carries", divider="grey", anchor=False)
    if not result.sentences:
        st.caption("The prompt is a single sentence: there is none to take out.")
        return
    table = tables.sentence_effects(result)
    effects = [(tables.role(result, r), r is result.target, r.sentence_effects) for r in result.readings]
    if result.n_sentences > MOST_SENTENCES:
        st.caption(f"The first {MOST_SENTENCES} of {result.n_sentences:,} sentences.")
    figure, origin = sentence_bars(table["sentence"].tolist(), effects), _about(result)
    roles = " and ".join(who for who, _, _ in effects)
    alt = (
        f"Effect on f of deleting each of {len(table)} sentences, at {roles}, in nats; the table below has the numbers."
    )
    table = table.assign(sentence=[shown(text) for text in table["sentence"]])
    show(figure, key="lab_sentences", path=result.question.path, about=origin, alt=alt, table=table)


def _next_tokens(result: Result) -> None:
    st.subheader("What would be said next", divider="grey", anchor=False)
    st.caption(
        "The likeliest next tokens after x and after x′, and the first tokens of the answers: (a), (b). ␣ is a space, "
        "↵ a line break."
    )
    for column, reading in zip(st.columns(2), result.readings, strict=False):
        with column:
            _tokens_of(result, reading)


def _tokens_of(result: Result, reading: Reading) -> None:
    who = tables.role(result, reading)
    st.markdown(f"**{who.capitalize()}**, {markdown_escaped(reading.checkpoint)}")
    table = tables.next_tokens(reading)
    # One column for both: two bars beside them have to fit on half a page.
    begins = [f" ({answer})" if answer else "" for answer in table.pop("Begins")]
    table["Token"] = [token + answer for token, answer in zip(table["Token"], begins, strict=True)]
    bar = {"format": "percent", "min_value": 0, "max_value": 1, "width": 145}
    share = st.column_config.ProgressColumn(help="Probability of the token", **bar)
    st.dataframe(
        table,
        hide_index=True,
        key=f"lab_next_{who.replace(' ', '_')}",
        column_config={"Token": st.column_config.TextColumn(width=105), **dict.fromkeys(table.columns[1:], share)},
        alt=f"Likeliest next tokens at the {who} checkpoint with their probabilities after x and x′",
    )
