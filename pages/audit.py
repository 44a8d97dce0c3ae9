"""Blind audit of single examples: predict, see, judge; and what all audits of a setting add up to."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.audit.item import Sitting, item, judged_setting, population, queue
from dashboard.audit.log import AuditError, AuditLog, Record, address, reviewer_name
from dashboard.audit.report import report
from dashboard.audit.results import verdicts
from dashboard.audit.view import draw_item
from dashboard.reading import data
from dashboard.selection.state import Selection, problem, sidebar
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import choose, chosen, keep
from dashboard.widgets.parts import provenance, small_print
from engine.runs.store import RunError

MOST_ITEMS, MOST_SEED = 500, 9_999


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
            "A blind audit is of explanations in nats. Sentences are judged against behavior one by one on the page "
            "Examples: choose another explainer here, if the run has one.",
            icon=":material/chat:",
        )
        return
    rows = population(selection)
    if rows.empty:
        st.info("This run keeps no explanations in this setting: choose another noise, layer, split or edit.")
        return
    views = {"queue": "Queue", "results": "Results and export"}
    view = choose("Show", "view", views, "queue", widget="segments")
    sitting = who(records)
    ids = queue(selection, rows, sitting)
    if view == "results":
        report(selection, log, records, rows, ids, sitting)
    elif not sitting.reviewer:
        welcome(len(ids))
    else:
        walk(selection, log, records, rows, ids, sitting)


def who(records: list[Record]) -> Sitting:
    """Name, seed and length of the queue; all in the URL, so that a reload goes on where it was."""
    name, seed, items = st.columns([2, 1, 1])
    given = reviewer_name(st.query_params.get("reviewer", st.session_state.get("audit_reviewer", "")))
    known = {r.reviewer.casefold(): r.reviewer for r in records}
    reviewer = known.get(given.casefold(), given)
    st.session_state["option_reviewer"] = st.session_state["audit_reviewer"] = reviewer
    if reviewer != st.query_params.get("reviewer", ""):
        keep("reviewer", reviewer, "")
    with name:
        st.text_input(
            "Reviewer",
            key="option_reviewer",
            max_chars=80,
            placeholder="Your name, as records will carry it",
            help="Not verified: whoever uses this dashboard can give any name. It stands in this page's address.",
            on_change=rename,
        )
    with seed:
        help_line = "Reviewers with the same seed and settings get the same queue, which their agreement needs."
        drawn = whole("Seed of the queue", "seed", 0, 0, MOST_SEED, help_line)
    with items:
        help_line = "Drawn equally from four quadrants: whose sign of the effect the explanation has."
        length = whole("Examples in it", "items", 40, 1, MOST_ITEMS, help_line)
    return Sitting(reviewer, drawn, length)


def rename() -> None:
    st.session_state["audit_reviewer"] = reviewer_name(st.session_state["option_reviewer"])
    keep("reviewer", st.session_state["audit_reviewer"], "")
    keep("item", None)


def whole(label: str, name: str, default: int, low: int, high: int, help_line: str) -> int:
    """A whole number in a box, kept in the URL; what does not fit becomes the default."""
    key = f"option_{name}"
    given = chosen(name, [str(n) for n in range(low, high + 1)], str(default))
    st.session_state[key] = int(given)

    def change() -> None:
        keep(name, st.session_state[key], default)
        keep("item", None)

    st.number_input(label, low, high, key=key, step=1, help=help_line, on_change=change)
    return int(given)


def welcome(items: int) -> None:
    st.subheader("How a blind audit goes", anchor=False)
    st.markdown(
        f"Give your name, and a queue of {items} examples begins. For each of them you\n\n"
        "1. read the prompt, its edit and the model's present output f(x);\n"
        "2. **predict** what the edit does. It is recorded before anything is revealed, and can't be changed;\n"
        "3. see what the explanation says, then f(x′), and who was how far off: you, the explanation, and f(x) alone;\n"
        "4. give a **verdict**, with a comment: does the explanation follow the current model, or the target that it "
        "was trained on?\n\n"
        "Records are only ever added. An undo is a record, too. You can stop at any time and go on later under the "
        "same name and seed."
    )
    small_print("Blind is what this page shows. The other pages show everything: an auditor does not look there first.")


def walk(
    selection: Selection, log: AuditLog, records: list[Record], rows: pd.DataFrame, ids: list[str], sitting: Sitting
) -> None:
    """Through the queue, one example at a time."""
    run_hash, setting = data.content_hash(selection.path), judged_setting(selection)
    judged = verdicts(records, sitting.reviewer, run_hash, setting)
    still_open = [i for i, e in enumerate(ids) if e not in judged]
    first_open = still_open[0] if still_open else 0
    place = ids.index(chosen("item", ids, ids[first_open]))
    finished = len(ids) - len(still_open)
    st.progress(finished / len(ids), f"{finished} of {len(ids)} judged" + ("" if still_open else ": the queue is done"))
    if other_content(records, sitting, selection, run_hash):
        st.info("You audited this run when it held other data. Those records are kept, but count for that data only.")
    with st.container(horizontal=True, vertical_alignment="center"):
        for label, icon, shortcut, to in (
            ("Previous", ":material/arrow_back:", "P", place - 1),
            ("Next", ":material/arrow_forward:", "N", place + 1),
        ):
            st.button(
                label, icon=icon, shortcut=shortcut, key=f"audit_{label.lower()}", disabled=not 0 <= to < len(ids),
                on_click=keep, args=("item", ids[to % len(ids)]),
            )  # fmt: skip
        st.markdown(f"**Example {place + 1} of {len(ids)}**", width="content")
    keep("item", ids[place])  # so that what is recorded here stays in sight
    later = next((i for i in [*still_open, *still_open[:1]] if i > place), first_open)
    draw_item(log, item(selection, rows, ids[place], sitting, records), lambda: keep("item", ids[later]))
    provenance(selection.path, extra=f"audit by {sitting.reviewer} · queue of {len(ids)}, seed {sitting.seed}")


def other_content(records: list[Record], sitting: Sitting, selection: Selection, run_hash: str) -> bool:
    mine = [r for r in records if r.reviewer == sitting.reviewer and r.run == selection.run.key]
    return bool(mine) and all(r.run_hash != run_hash for r in mine)


main()
