"""What the audits of a setting add up to, on a page: errors, verdicts, agreement, the chain, and the exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.audit.evidence import evidence
from dashboard.audit.item import Sitting, judged_setting
from dashboard.audit.log import VERDICTS, AuditLog, Record, check, head, standing
from dashboard.audit.results import Kappa, Mean, judged, kappas, mean_errors
from dashboard.reading import data
from dashboard.selection.state import Selection
from dashboard.text import bracketed, markdown_escaped, shown, signed
from dashboard.widgets import figures
from dashboard.widgets.parts import downloads, small_print


def report(
    selection: Selection, log: AuditLog, records: list[Record], rows: pd.DataFrame, ids: list[str], sitting: Sitting
) -> None:
    run_hash, setting = data.content_hash(selection.path), judged_setting(selection)
    done = judged(records, run_hash, setting)
    done = done[done["example_id"].isin(rows["example_id"])]
    mine = set(done.loc[done["reviewer"] == sitting.reviewer, "example_id"])
    left = len(set(ids) - mine)
    if sitting.reviewer and left:
        st.warning(
            f"{left} of your {len(ids)} examples are open: what others found is shown below. Finish your queue first.",
            icon=":material/visibility_off:",
        )
    sizes = {str(k): int(v) for k, v in rows["stratum"].value_counts().items() if v}
    found, pairs = mean_errors(done, sizes), kappas(done)
    if done.empty:
        st.info("No verdict stands in this setting yet: the queue is where they are given.")
    else:
        errors(selection, found, done, sizes)
        verdicts(done)
        agreement(pairs, done)
    state = chain(log, records)
    exports(selection, records, done, found, pairs, state)


def errors(selection: Selection, found: Sequence[Mean], done: pd.DataFrame, sizes: dict[str, int]) -> None:
    st.subheader("Who comes nearest to what the model does", anchor=False)
    if not found:
        st.write("These explanations are words: there is no number to compare.")
        return
    kinds = {"the explanation": "explainer", "−f(x), scaled": "control"}
    estimates = [charts.LadderRow(m.name, m.value, m.low, m.high, kinds.get(m.name, "reference")) for m in found]
    seen = done["stratum"].nunique()
    note = (
        f"mean over {found[0].n} audited examples, {seen} of {len(sizes)} quadrants, weighted by the quadrants' sizes"
    )
    table = pd.DataFrame([asdict(m) for m in found]).rename(columns={"name": "who", "value": "mean error, nats"})
    figures.show(
        charts.ladder(estimates, x_title="mean error |Δ said − Δ current|, nats"),
        key="audit-errors",
        alt="; ".join(f"{m.name} {m.text} nats {bracketed(m.low, m.high)}" for m in found),
        path=selection.path,
        about=note,
        table=table,
    )
    st.caption(
        "Lower is better; the last line is a difference, below 0 where auditors beat the explanation. Bars: 95% "
        "intervals, resampling examples within quadrants; none while a quadrant has a single example."
    )


def verdicts(done: pd.DataFrame) -> None:
    st.subheader("Verdicts", anchor=False)
    counts = done.groupby(["reviewer", "verdict"]).size().unstack(fill_value=0).reindex(columns=list(VERDICTS))
    table = counts.fillna(0).astype(int).rename(columns=VERDICTS).reset_index()
    table["reviewer"] = table["reviewer"].map(shown)
    st.dataframe(table.rename(columns={"reviewer": "Reviewer"}), hide_index=True, alt="Standing verdicts by reviewer")


def agreement(pairs: Sequence[Kappa], done: pd.DataFrame) -> None:
    st.subheader("Agreement between reviewers", anchor=False)
    if not pairs:
        who = "one reviewer" if done["reviewer"].nunique() == 1 else "no example that two reviewers share"
        st.write(f"Verdicts of {who} so far: agreement needs two on the same examples, so the same seed.")
        return
    table = pd.DataFrame(
        {
            "Reviewers": [f"{shown(p.first)} and {shown(p.second)}" for p in pairs],
            "Cohen's kappa": [signed(p.value) for p in pairs],
            "95% interval": [bracketed(p.low, p.high) for p in pairs],
            "Same verdict": [f"{p.same} of {p.n}" for p in pairs],
            "In words": [p.words for p in pairs],
        }
    )
    columns = {
        "Cohen's kappa": st.column_config.TextColumn(
            help="Agreement beyond chance: 1 is perfect, 0 what chance gives, by scikit-learn's cohen_kappa_score"
        ),
        "95% interval": st.column_config.TextColumn(help="Percentile bootstrap over examples"),
        "Same verdict": st.column_config.TextColumn(help="Of the examples that both judged"),
        "In words": st.column_config.TextColumn(help="Landis and Koch's words, a convention", width="large"),
    }
    st.dataframe(table, hide_index=True, column_config=columns, alt="Cohen's kappa of each pair of reviewers")


def chain(log: AuditLog, records: list[Record]) -> str:
    """Whether the log is as it was written, in words."""
    st.subheader("The log", anchor=False)
    broken = check(records)
    if broken:
        st.error(markdown_escaped(f"The chain of records is broken: {broken}."), icon=":material/link_off:")
        return f"broken: {broken}"
    state = f"sound: {len(records)} records, each sealed with the hash of the one before"
    st.write(f"The chain is {state}.")
    small_print("The last record's hash. Note it elsewhere: it shows whether records were cut off later.")
    st.code(head(records), language=None, wrap_lines=True)
    small_print(f"Kept in {log.name}")
    return state


def exports(
    selection: Selection,
    records: list[Record],
    done: pd.DataFrame,
    found: Sequence[Mean],
    pairs: Sequence[Kappa],
    state: str,
) -> None:
    run_hash = data.content_hash(selection.path)
    name = f"{selection.run.key}-audit".replace("/", "-")

    def file() -> str:
        return evidence(
            records, run_hash=run_hash, setting=judged_setting(selection), provenance=origin(selection), chain=state,
            errors=found, kappas=pairs,
        )  # fmt: skip

    st.download_button(
        "Evidence as one HTML file",
        file,
        f"{name}.html",
        "text/html",
        key="audit_evidence",
        icon=":material/description:",
        type="primary",
        on_click="ignore",
        help="Self-contained: edits, numbers, pictures, verdicts, provenance and hashes. It loads nothing.",
    )
    undone = {r.refers_to for r in records if r.kind == "undo"}
    table = pd.DataFrame([asdict(r) | {"undone": r.id in undone} for r in records if r.run_hash == run_hash])
    if table.empty:
        return
    columns = ["id", "created", "reviewer", "kind", "example_id", "predicted", "verdict", "comment", "undone", "hash"]
    with st.expander(f"All {len(table)} records of this run", icon=":material/table:"):
        text = table[columns].tail(figures.TABLE_ROWS)[::-1]
        st.dataframe(text.assign(comment=text["comment"].map(shown), reviewer=text["reviewer"].map(shown)),
                     hide_index=True, alt="Audit records, the latest first")  # fmt: skip
        downloads(table, name, "audit_records")
        small_print("Parquet keeps every character; in CSV, cells that a spreadsheet would run get an apostrophe.")
    small_print(f"{len(standing(records))} verdicts stand in the whole log, {len(done)} of them in this setting.")


def origin(selection: Selection) -> dict[str, str]:
    """Provenance for the evidence file: label → value."""
    about = data.manifest(selection.path)
    provenance, spec = about["provenance"], about["spec"]
    s = selection
    noise = "none" if s.noise_kind == "none" else f"{s.noise_kind} {s.noise:.0%}"
    layer = "chosen" if s.layer is None else s.layer
    contents = provenance.get("content") or {}
    checkpoints = [f"{name} {contents.get(name, '')}".strip() for name in (s.options.target, s.checkpoint)]
    packages = ", ".join(f"{k} {v}" for k, v in (provenance.get("packages") or {}).items())
    return {
        "run": f"{s.run.key}, content {data.content_hash(s.path)}",
        "note": spec["note"],
        "target checkpoint, content": checkpoints[0],
        "current checkpoint, content": checkpoints[1],
        "explainer": f"{s.explainer}, {s.regime}, layer {layer}, label noise {noise}",
        "split and edit": f"{s.split}, {s.edit or 'all kinds of edits'}",
        "code of the run": provenance.get("git_commit") or "not recorded",
        "packages of the run": packages,
        "files of the run": "; ".join(f"{n} {a.get('sha256', '')[:16]}" for n, a in about["parts"].items()
                                      if n.endswith(".parquet")),
        "made": f"{datetime.now(UTC).isoformat(timespec='seconds')} by introspective-coupling "
        f"{version('introspective-coupling')}",
    }  # fmt: skip
