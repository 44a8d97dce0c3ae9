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
from dashboard.audit.log import VERDICTS, AuditLog, Record, check, last_hash, standing_verdicts
from dashboard.audit.results import WHO, Kappa, MeanError, judged, kappas, mean_errors
from dashboard.reading import data
from dashboard.selection.state import Selection
from dashboard.text import bracketed, markdown_escaped, shown, signed
from dashboard.widgets import figures
from dashboard.widgets.parts import downloads, small_print


def report(
    selection: Selection, log: AuditLog, records: list[Record], rows: pd.DataFrame, ids: list[str], sitting: Sitting
) -> None:
    """All of it. records: the whole log; rows: the `item.population`; ids: the reviewer's queue."""
    run_hash, setting = data.content_hash(selection.path), judged_setting(selection)
    done = judged(records, run_hash, setting)
    done = done[done["example_id"].isin(rows["example_id"])]
    left = len(set(ids) - set(done.loc[done["reviewer"] == sitting.reviewer, "example_id"]))
    if sitting.reviewer and left:
        st.warning(
            f"{left} of your {len(ids)} examples are open: what others found is shown below. Finish your queue first.",
            icon=":material/visibility_off:",
        )
    sizes = {str(k): int(v) for k, v in rows["stratum"].value_counts().items() if v}
    found, pairs = mean_errors(done, sizes), kappas(done)
    if done.empty:
        st.info("No verdict stands in this setting yet. Verdicts are given in the queue.")
    else:
        draw_errors(selection, found, done["stratum"].nunique(), len(sizes))
        count_verdicts(done)
        agreement(pairs, done)
    state = chain(log, records)

    def file() -> str:
        about = origin(selection)
        return evidence(
            records, run_hash=run_hash, setting=setting, provenance=about, chain=state, errors=found, kappas=pairs
        )

    name = f"{selection.run.key}-audit".replace("/", "-")
    look = {"key": "audit_evidence", "icon": ":material/description:", "type": "primary", "on_click": "ignore"}
    look["help"] = "Self-contained: edits, numbers, pictures, verdicts, provenance and hashes. It loads nothing."
    st.download_button("Evidence as one HTML file", file, f"{name}.html", "text/html", **look)
    export_records([r for r in records if r.run_hash == run_hash], name)
    standing = len(standing_verdicts(records))
    small_print(f"{standing} verdicts stand in the whole log, {len(done)} of them in this setting.")


def draw_errors(selection: Selection, found: Sequence[MeanError], seen: int, quadrants: int) -> None:
    """Mean errors with their intervals. seen: the number of `quadrants` with a judged example."""
    st.subheader("Who comes nearest to what the model does", anchor=False)
    if not found:
        st.write("These explanations are words: there is no number to compare.")
        return
    kinds = {WHO["explanation"]: "explainer", WHO["output"]: "control"}
    estimates = [charts.LadderRow(m.name, m.value, m.low, m.high, kinds.get(m.name, "reference")) for m in found]
    figure = charts.ladder(estimates, x_title="mean error |Δ said − Δ current|, nats")
    alt = "; ".join(f"{m.name} {m.text} nats {bracketed(m.low, m.high)}" for m in found)
    about = (
        f"mean over {found[0].n} audited examples, {seen} of {quadrants} quadrants, weighted by the quadrants' sizes"
    )
    table = pd.DataFrame(found).rename(columns={"name": "who", "value": "mean error, nats"})
    figures.show(figure, key="audit-errors", alt=alt, path=selection.path, about=about, table=table)
    st.caption(
        "Lower is better; the last line is a difference, below 0 where auditors beat the explanation. Bars: 95% "
        "intervals, resampling examples within quadrants; none while a quadrant has a single example."
    )


def count_verdicts(done: pd.DataFrame) -> None:
    """Standing verdicts by reviewer."""
    st.subheader("Verdicts", anchor=False)
    counts = pd.crosstab(done["reviewer"].map(shown), done["verdict"]).reindex(columns=list(VERDICTS), fill_value=0)
    table = counts.rename(columns=VERDICTS).reset_index(names="Reviewer")
    st.dataframe(table, hide_index=True, alt="Standing verdicts by reviewer")


def agreement(pairs: Sequence[Kappa], done: pd.DataFrame) -> None:
    """Cohen's kappa of each pair of reviewers."""
    st.subheader("Agreement between reviewers", anchor=False)
    if not pairs:
        alone = done["reviewer"].nunique() == 1
        why = "one reviewer has given verdicts" if alone else "no two reviewers share an example"
        st.write(f"So far {why}. Agreement needs two reviewers with the same queue, so with the same seed.")
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
    text = st.column_config.TextColumn
    columns = {
        "Cohen's kappa": text(help="Agreement beyond chance: 1 is perfect, 0 is what chance gives"),
        "95% interval": text(help="Percentile bootstrap over the examples that both judged"),
        "In words": text(help="Landis and Koch's words, a convention", width="large"),
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
    st.code(last_hash(records), language=None, wrap_lines=True)
    small_print(f"Kept in {log.name}")
    return state


def export_records(records: list[Record], name: str) -> None:
    """The records of a run as a table to read and to save."""
    if not records:
        return
    undone = {r.refers_to for r in records if r.kind == "undo"}
    table = pd.DataFrame([asdict(r) | {"undone": r.id in undone} for r in records])
    columns = ["id", "created", "reviewer", "kind", "example_id", "predicted", "verdict", "comment", "undone", "hash"]
    with st.expander(f"All {len(table)} records of this run", icon=":material/table:"):
        latest = table[columns].tail(figures.TABLE_ROWS)[::-1]
        latest = latest.assign(comment=latest["comment"].map(shown), reviewer=latest["reviewer"].map(shown))
        st.dataframe(latest, hide_index=True, alt="Audit records, the latest first")
        downloads(table, name, "audit_records")
        small_print("Parquet keeps every character; in CSV, cells that a spreadsheet would run get an apostrophe.")


def origin(selection: Selection) -> dict[str, str]:
    """Provenance for the evidence file: label → value."""
    s, about = selection, data.manifest(selection.path)
    provenance, parts = about["provenance"], about["parts"].items()
    noise = "none" if s.noise_kind == "none" else f"{s.noise_kind} {s.noise:.0%}"
    layer = "chosen" if s.layer is None else s.layer
    contents = provenance.get("content") or {}
    target, current = (f"{name} {contents.get(name, '')}".strip() for name in (s.options.target, s.checkpoint))
    tool = f"introspective-coupling {version('introspective-coupling')}"
    return {
        "run": f"{s.run.key}, content {data.content_hash(s.path)}",
        "note": about["spec"]["note"],
        "target checkpoint, content": target,
        "current checkpoint, content": current,
        "explainer": f"{s.explainer}, {s.regime}, layer {layer}, label noise {noise}",
        "split and edit": f"{s.split}, {s.edit or 'all kinds of edits'}",
        "code of the run": provenance.get("git_commit") or "not recorded",
        "packages of the run": ", ".join(f"{k} {v}" for k, v in (provenance.get("packages") or {}).items()),
        "files of the run": "; ".join(f"{n} {a.get('sha256', '')[:16]}" for n, a in parts if n.endswith(".parquet")),
        "made": f"{datetime.now(UTC).isoformat(timespec='seconds')} by {tool}",
    }
