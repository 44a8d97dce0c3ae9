"""What the lab draws: the texts before a run, the results after it; and the link to it from other pages."""

from __future__ import annotations

import streamlit as st

from dashboard import PAGES
from dashboard.charts.examples import Arrow, arrows, sentence_bars
from dashboard.lab import draft as lab
from dashboard.lab import start, tables
from dashboard.lab.draft import Draft
from dashboard.lab.measure import MOST_SENTENCES, Question, Reading, Result
from dashboard.lab.text import about_the_change, highlighted, label
from dashboard.selection.resolve import Selection, with_changes
from dashboard.text import diff, escaped, markdown_escaped, shown
from dashboard.widgets import parts
from dashboard.widgets.example_view import verdict
from dashboard.widgets.figures import show
from engine.config import InputError

PAGE = PAGES / "lab.py"

HELP = {
    "f(x)": "Behavior at the prompt: log p(a) − log p(b), in nats. Above 0, answer a is likelier.",
    "f(x′)": "The same after the edit.",
    "Δ": "The effect of the edit: f(x′) − f(x), in nats.",
    "Explanation": "What the run's frozen explainer says that Δ is, from h(x) at this checkpoint. It never sees x′.",
    "Off by": "|explanation − Δ|, in nats.",
    "−f(x)": "The control `output`: what one would say who knows the present output and no edit. An explanation that "
    "comes no nearer to Δ than this has shown nothing.",
}


def open_in_lab(selection: Selection, identity: str) -> None:
    """A link to the lab that starts from an example."""
    if PAGE.exists():
        st.page_link(
            PAGE, label="Open in the lab", icon=":material/science:",
            query_params=with_changes(selection, example=identity, hash=None),
        )  # fmt: skip


def preview(draft: Draft) -> None:
    """The prompt with its marks, and the word diff of x and x'."""
    if not draft.prompt.strip():
        return
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        _title("Prompt x", "marked: what the edit is about")
        st.html(highlighted(draft.prompt, draft.marks))
    with right.container(border=True, height="stretch"):
        _title("x against x′", "struck through: removed; underlined: added")
        made = None
        if not lab.edit_obstacles(draft):
            try:
                made = lab.edited(draft)
            except InputError:  # said where the obstacles are
                made = None
        if made is None:
            st.caption("No counterfactual yet.")
        else:
            st.html(diff(*about_the_change(draft.prompt, made.text)))


def _title(text: str, small: str) -> None:
    st.html(f'<h2 style="font-size: 1rem; padding: 0">{escaped(text)} <small>({escaped(small)})</small></h2>')


def results(selection: Selection, result: Result, asked: Question | None) -> None:
    """All that was measured; says so where the controls ask for something else by now."""
    st.subheader("What both checkpoints do", divider="grey", anchor=False)
    if result.question != asked:
        st.info(
            "The inputs have changed since: these numbers are of run "
            f"{markdown_escaped(result.question.path.name)}, {markdown_escaped(result.current.checkpoint)}, and of "
            f"“{markdown_escaped(label(result.question.prompt, 100))}”. Press Run for the present ones.",
            icon=":material/history:",
        )
    row = _recorded(selection, result)
    _warnings(result, known=row is not None)
    effects(result)
    if row is not None:
        _against_the_record(result, row)
    _words(result)
    _picture(result)
    _sentences(result)
    _next_tokens(result)
    name = f"{result.question.path.name}-lab"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown("**All of this as a table**", width="content")
        parts.downloads(lambda: tables.everything(result), name, "lab")


def far_out(checkpoint: str, known: bool) -> str:
    """That a hidden state lies beyond what the explainer mostly saw; `known`: the prompt is one of the run's own."""
    if known:
        return f"At {checkpoint} the hidden state of this prompt is among the 1% farthest out of the run's own."
    return (
        f"At {checkpoint} this prompt is unlike the run's: its hidden state lies farther out than those of 99% of "
        "them, so the explanation is an extrapolation."
    )


def _warnings(result: Result, known: bool) -> None:
    for reading in result.readings:
        if reading.as_measured is False:
            st.warning(
                f"The checkpoint {markdown_escaped(reading.checkpoint)} on disk is not the one that this run measured: "
                "its numbers are of another model.",
                icon=":material/difference:",
            )
        if reading.next.shared:
            st.info(
                f"At {markdown_escaped(reading.checkpoint)} both answers begin with the same "
                f"{reading.next.shared} token{'s' if reading.next.shared > 1 else ''}: f compares only what comes "
                "after, and the next tokens below don't tell the answers apart.",
                icon=":material/call_split:",
            )
        if result.question.explainer is not None and reading.explanation is None:
            st.info(
                f"{markdown_escaped(reading.checkpoint)} is another model than the one whose hidden states the "
                "explainer reads: there is no explanation at it.",
                icon=":material/info:",
            )
        if reading.unlike:
            st.info(
                markdown_escaped(far_out(reading.checkpoint, known)),
                icon=":material/explore:",
            )
    if result.target is result.current:
        st.info("The target and the current checkpoint are the same here: choose a later one to see behavior move.")


def effects(result: Result) -> None:
    """The table of numbers."""
    table = tables.effects(result)
    table = table.assign(Checkpoint=[shown(name) for name in table["Checkpoint"]])
    number = {n: st.column_config.NumberColumn(format="%+.3f", help=f"{HELP[n]}") for n in tables.NUMBERS}
    number["Off by"] = st.column_config.NumberColumn(format="%.3f", help=HELP["Off by"])
    st.dataframe(
        table,
        hide_index=True,
        key="lab_effects",
        column_config=number,
        placeholder="–",
        alt="f(x), f(x′), their difference, the explanation and its error at both checkpoints, in nats",
    )
    a, b = (shown(answer) for answer in result.question.answers)
    kind = result.question.explainer
    explainer = "" if kind is None else (
        f" Explanation: frozen ridge for {kind.edit}, layer {kind.layer}, penalty {kind.penalty:g}."
    )  # fmt: skip
    parts.small_print(f"In nats. f is log p(“{a}”) − log p(“{b}”) after the prompt.{explainer}")


def _recorded(selection: Selection, result: Result) -> dict | None:
    """The example of the run that was asked about; None for another prompt."""
    question = result.question
    if question.path != selection.path or question.checkpoints[1] != selection.checkpoint:
        return None
    return start.recognised(selection, question.prompt, question.edited, question.answers)


def _against_the_record(result: Result, row: dict) -> None:
    """For an example of the run: whether what was measured now is what the run recorded."""
    question = result.question
    f, explanation = tables.recorded_difference(result, row)
    said = ""
    if explanation is not None and question.explainer is not None and question.explainer.edit == row["edit"]:
        said = f", the explanation by {explanation:.4f}"
    st.caption(
        f"This is example {row['example_id']} of the run ({markdown_escaped(row['edit'])}, "
        f"{markdown_escaped(row['split'])}). "
        f"What was recorded differs from this by {f'{f:.5f}' if f >= 1e-5 else 'less than 0.00001'} nats in f{said}."
    )


def _words(result: Result) -> None:
    said, current, target = result.current.explanation, result.current, result.target
    if said is None or current.effect is None or target.effect is None or target is current:
        return
    sentence = verdict(said, target.effect, current.effect, -current.f)
    st.html(f'<p style="font-size: 1.05rem; margin: 0.3rem 0 0">{escaped(sentence)}</p>')


def _picture(result: Result) -> None:
    rows = [Arrow(r is result.target, r.f, r.f_edited, r.explanation) for r in result.readings]
    described = "; ".join(
        f"{tables.role(result, r)}: f(x) {r.f:.2f}"
        + ("" if r.f_edited is None else f", f(x′) {r.f_edited:.2f}")
        + ("" if r.explanation is None else f", explanation {r.explanation:+.2f}")
        for r in result.readings
    )
    show(
        arrows(rows), key="lab_arrows", alt=f"In nats, {described}.", path=result.question.path,
        about=_about(result),
    )  # fmt: skip


def _about(result: Result) -> str:
    names = " and ".join(r.checkpoint for r in result.readings)
    return f"one prompt, {names} · measured in {result.seconds:.1f} s"


def _sentences(result: Result) -> None:
    st.subheader("What each sentence carries", divider="grey", anchor=False)
    if not result.sentences:
        st.caption("The prompt is a single sentence: there is none to take out.")
        return
    table = tables.sentence_effects(result)
    effects = [(tables.role(result, r), r is result.target, r.sentence_effects) for r in result.readings]
    if result.n_sentences > MOST_SENTENCES:
        st.caption(f"The first {MOST_SENTENCES} of {result.n_sentences:,} sentences.")
    show(
        sentence_bars(table["sentence"].tolist(), effects), key="lab_sentences", path=result.question.path,
        about=_about(result), table=table.assign(sentence=[shown(t) for t in table["sentence"]]),
        alt=f"Effect on f of deleting each of {len(table)} sentences, at "
        + " and ".join(who for who, _, _ in effects) + ", in nats; the table below has the numbers.",
    )  # fmt: skip


def _next_tokens(result: Result) -> None:
    st.subheader("What would be said next", divider="grey", anchor=False)
    st.caption(
        "The likeliest next tokens after x and after x′, and those that the answers begin with: (a), (b). "
        "␣ is a space, ↵ a line break."
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
    share = st.column_config.ProgressColumn(
        format="percent", min_value=0, max_value=1, help="Probability of the token", width=145
    )
    st.dataframe(
        table,
        hide_index=True,
        key=f"lab_next_{who.replace(' ', '_')}",
        column_config={"Token": st.column_config.TextColumn(width=105), **dict.fromkeys(table.columns[1:], share)},
        alt=f"Likeliest next tokens at the {who} checkpoint with their probabilities after x and x′",
    )
