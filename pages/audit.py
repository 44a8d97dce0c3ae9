"""Blind audit of single examples: predict, see, judge; and what all audits of a setting add up to."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.audit.item import Sitting, judged_setting, population, queue_of, read_item
from dashboard.audit.log import LONGEST_NAME, AuditError, AuditLog, Record, address, reviewer_name
from dashboard.audit.report import report
from dashboard.audit.results import verdicts_of
from dashboard.audit.view import draw_item, whole_number
from dashboard.reading import data
from dashboard.selection.state import Selection, problem, sidebar
from dashboard.serving import access
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import choose, chosen, keep
from dashboard.widgets.parts import provenance, small_print
from engine.runs.store import RunError

MOST_ITEMS, MOST_SEED = 500, 9_999
WELCOME = """Give your name, and a queue of {items} examples begins. For each of them you

1. read the prompt, its edit and the model's present output f(x);
2. **predict** what the edit does. It is recorded before anything is revealed, and can't be changed;
3. see what the explanation says, then f(x′), and who was how far off: you, the explanation, and f(x) alone;
4. give a **verdict**, with a comment: does the explanation follow the current model, or the target that it was
   trained on?

Records are only ever added. An undo is a record, too. You can stop at any time and go on later under the same name and
seed. A link to this page does not hold your name: after a reload, give it again."""


def main() -> None:
    st.title("Audit", anchor=False)
    selection = sidebar("run", "checkpoint", "explainer", "regime", "layer", "noise", "split", "edit")
    if selection is None:
        return
    try:
        log = opened(address(data.directories()))
        page(selection, log, log.records())
    except RunError as error:
        problem(str(error))
    except AuditError as error:
        st.error(markdown_escaped(error), icon=":material/error:")


@st.cache_resource(max_entries=8, show_spinner=False)
def opened(url: str) -> AuditLog:
    return AuditLog(url)


def page(selection: Selection, log: AuditLog, records: list[Record]) -> None:
    if selection.explainer == "verbal":
        st.info(
            "Only explanations in nats can be audited here. The page Examples judges sentences one by one. Choose "
            "another explainer, if the run has one.",
            icon=":material/chat:",
        )
        return
    rows = population(selection)
    if rows.empty:
        st.info("This run keeps no explanations in this setting: choose another noise, layer, split or edit.")
        return
    views = {"queue": "Queue", "results": "Results and export"}
    view = choose("Show", "view", views, "queue", widget="segments")
    sitting = ask_for_sitting(records)
    ids = queue_of(selection, rows, sitting)
    if view == "results":
        report(selection, log, records, rows, ids, sitting)
    elif not access.may("audit"):
        st.info("Audits are written by those who have the role auditor or operator. You can read the results.")
    elif sitting.reviewer:
        walk(selection, log, records, rows, ids, sitting)
    else:
        st.subheader("How a blind audit goes", anchor=False)
        st.markdown(WELCOME.format(items=len(ids)))
        small_print("Only this page is blind. The other pages show everything: do not look there first.")


def ask_for_sitting(records: list[Record]) -> Sitting:
    """Seed and length of the queue, which are in the URL; and the reviewer, who is not: a link that is passed on would
    let its reader audit under that name."""
    signed_in = access.person().email
    st.query_params.pop("reviewer", None)  # of an older link
    given = st.session_state.get("audit_reviewer", "")
    known = {r.reviewer.casefold(): r.reviewer for r in records}
    reviewer = signed_in or known.get(given.casefold(), given)
    st.session_state["option_reviewer"] = st.session_state["audit_reviewer"] = reviewer
    with st.expander(
        "Reviewer and queue" if not reviewer else f"Reviewer: {markdown_escaped(reviewer)}", expanded=not reviewer
    ):
        name, seed, items = st.columns([2, 1, 1])
    with name:
        look = {"max_chars": LONGEST_NAME, "placeholder": "Your name, as records will carry it"}
        look |= {"autocomplete": "name", "help": "Not verified: whoever uses this dashboard can give any name."}
        if signed_in:
            look = {"disabled": True, "help": "The e-mail by which you signed in."}
        st.text_input("Reviewer", key="option_reviewer", on_change=rename, **look)
    with seed:
        help_line = "Reviewers with the same seed and settings get the same queue. Agreement between them needs that."
        chosen_seed = whole_number("Seed of the queue", "seed", 0, 0, MOST_SEED, help_line)
    with items:
        help_line = "Drawn equally from four quadrants: right or wrong about the sign of Δ current, and of Δ target."
        length = whole_number("Examples in it", "items", 40, 1, MOST_ITEMS, help_line)
    return Sitting(reviewer, chosen_seed, length)


def rename() -> None:
    if st.session_state["audit_reviewer"]:  # another reviewer begins at the first example
        keep("item", None)
    st.session_state["audit_reviewer"] = reviewer_name(st.session_state["option_reviewer"])


def walk(
    selection: Selection, log: AuditLog, records: list[Record], rows: pd.DataFrame, ids: list[str], sitting: Sitting
) -> None:
    """Through the queue, one example at a time."""
    run_hash = data.content_hash(selection.path)
    judged = verdicts_of(records, sitting.reviewer, run_hash, judged_setting(selection))
    still_open = [i for i, e in enumerate(ids) if e not in judged]
    first_open = still_open[0] if still_open else 0
    place = ids.index(chosen("item", ids, ids[first_open]))
    finished = len(ids) - len(still_open)
    st.progress(finished / len(ids), f"{finished} of {len(ids)} judged" + ("" if still_open else ": the queue is done"))
    seen = {r.run_hash for r in records if r.reviewer == sitting.reviewer and r.run == selection.run.key}
    if seen and run_hash not in seen:
        st.info("You audited this run when it held other data. Those records are kept, but count for that data only.")
    with st.container(horizontal=True, vertical_alignment="center"):
        steps = (("Previous", "arrow_back", "P", place - 1), ("Next", "arrow_forward", "N", place + 1))
        for label, icon, shortcut, to in steps:
            act = {"key": f"audit_{label.lower()}", "on_click": keep, "args": ("item", ids[to % len(ids)])}
            st.button(label, icon=f":material/{icon}:", shortcut=shortcut, disabled=not 0 <= to < len(ids), **act)
        st.markdown(f"**Example {place + 1} of {len(ids)}**", width="content")
    keep("item", ids[place])  # so that what is recorded here stays in sight
    later = next((i for i in still_open if i > place), first_open)
    draw_item(log, read_item(selection, rows, ids[place], sitting, records), lambda: keep("item", ids[later]))
    provenance(selection.path, extra=f"audit by {sitting.reviewer} · queue of {len(ids)}, seed {sitting.seed}")


main()
