"""The audit page by Streamlit's own harness: the order of its steps, what is recorded, what is said."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.audit.log import AuditLog, check
from dashboard.reading import data, example_rows
from dashboard.text import signed
from tests.dashboard.app import Open, checked, html
from tests.synthetic_run import write_run


@pytest.fixture
def audited(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """The page over a run `alpha`, its log beside it, after its reader gave a name."""
    write_run(tmp_path / "alpha", prompts=80, checkpoints=3)
    monkeypatch.delenv("COUPLING_AUDIT_URL", raising=False)

    def signed_by(reviewer: str = "Ann", **parameters: str) -> AppTest:
        app = opened(tmp_path, "audit", **({"run": "alpha", "items": "6"} | parameters))
        if app.error:
            return app
        app.text_input(key="option_reviewer").set_value(reviewer)
        return checked(app.run())

    return signed_by


def everything(app: AppTest) -> str:
    """All that the browser is sent, as text."""
    return "\n".join(str(node.proto) for node in app.main if getattr(node, "proto", None) is not None)


def predict(app: AppTest, size: float = 1.5) -> None:
    app.button(key="audit_down").click().run()
    next(n for n in app.number_input if n.label == "By how many nats").set_value(size).run()
    app.button(key="audit_predict").click().run()


def test_the_page_goes_in_strict_order_and_a_reload_goes_on(audited: Open, tmp_path: Path) -> None:
    log = AuditLog(f"sqlite:///{tmp_path / 'audits.sqlite'}")
    app = audited()
    assert "explanation" not in [m.label.lower() for m in app.metric]
    app.button(key="audit_predict").click().run()
    assert "Give a direction" in app.error[0].value
    assert not (tmp_path / "audits.sqlite").exists()
    predict(app)
    (made,) = log.records()
    assert (made.kind, made.predicted, made.reviewer) == ("prediction", -1.5, "Ann")
    row = example_rows.example(tmp_path / "alpha", data.Setting("gpt2--step-0200", "ridge", "frozen"), made.example_id)
    assert row is not None
    explained = signed(row["explanation"])
    assert {m.label: m.value for m in app.metric} == {
        "You predicted Δ, nats": "−1.50",
        "Explanation says Δ, nats": explained,
    }
    assert explained in everything(app)
    for hidden in ("f_edited_current", "effect_current", "effect_target"):
        assert signed(row[hidden]) not in everything(app)
    app = audited()  # as a reload does
    assert "audit_predict" not in [b.key for b in app.button]
    app.button(key="audit_reveal").click().run()
    said = {m.label: m.value for m in app.metric}
    assert said["f(x′), nats"] == signed(row["f_edited_current"])
    assert f"off by {abs(-1.5 - row['effect_current']):.2f} nats" in [m.delta for m in app.metric]
    (figure,) = app.get("plotly_chart")
    content = data.content_hash(tmp_path / "alpha")
    assert content in figure.proto.spec and f'audit-{made.example_id}-alpha-{content}"' in figure.proto.config
    app.text_area[0].set_value("as it seems").run()
    app.button(key="audit_verdict_target").click().run()
    verdict = log.records()[1]
    assert (verdict.verdict, verdict.comment, verdict.refers_to) == ("target", "as it seems", made.id)
    assert verdict.run_hash == data.content_hash(tmp_path / "alpha")
    app.button(key="audit_undo").click().run()
    assert log.records()[2].kind == "undo"
    app.button(key="audit_verdict_current").click().run()
    app.button(key="audit_next_open").click().run()
    assert app.query_params["item"] != made.example_id
    assert check(log.records()) is None


def test_where_effects_can_not_be_told_apart_undecidable_is_advised(audited: Open) -> None:
    app = audited(checkpoint="gpt2--step-0000")  # the target itself
    predict(app)
    app.button(key="audit_reveal").click().run()
    assert "Undecidable” is advised" in app.info[0].value.replace("\\", "")


def test_no_link_carries_the_name_of_the_reviewer(audited: Open, opened: Open, tmp_path: Path) -> None:
    app = audited()
    predict(app)
    assert "Ann" not in str(app.query_params) and "Record" in everything(app)
    old = opened(tmp_path, "audit", **{name: v[0] for name, v in app.query_params.items()}, reviewer="Ann")
    assert "reviewer" not in old.query_params
    assert old.text_input(key="option_reviewer").value == ""
    assert "Ann" not in everything(old)


def test_results_and_exports(audited: Open, tmp_path: Path) -> None:
    app = audited(view="results")
    assert "No verdict stands" in app.info[0].value
    for reviewer in ("Ann", "Bob"):
        app = audited(reviewer=reviewer)
        for _ in range(2):
            predict(app)
            app.button(key="audit_reveal").click().run()
            app.button(key="audit_verdict_current").click().run()
            app.button(key="audit_next_open").click().run()
    app = audited(view="results", reviewer="ann ")
    assert app.text_input(key="option_reviewer").value == "Ann"
    assert "4 of your 6 examples are open" in app.warning[0].value
    tables = [t.value for t in app.dataframe]
    assert any("undefined" in str(t.get("In words", "")) for t in tables)
    assert any("The chain is sound: 8 records" in m.value for m in app.markdown)
    (quadrants,) = re.findall(r"of (\d) quadrants", html(app))
    assert int(quadrants) <= 4, "what has no number is no quadrant where nothing is without one"
    with sqlite3.connect(tmp_path / "audits.sqlite") as direct:
        direct.executescript("DROP TRIGGER audit_no_update; UPDATE audit_records SET comment = 'x' WHERE id = 2;")
    assert "record 2 was changed" in audited(view="results").error[0].value.replace("\\", "")


def test_a_prediction_stands_for_every_explainer_of_that_checkpoint(audited: Open) -> None:
    app = audited()
    predict(app)
    example = app.query_params["item"]
    other = audited(explainer="mlp", items="500", item=example)
    assert "You predicted Δ, nats" in [m.label for m in other.metric]
    assert "earlier queue" in html(other)
    assert "audit_predict" in [b.key for b in audited(checkpoint="gpt2--step-0100", items="500", item=example).button]


def test_without_a_place_to_write_the_page_says_so(audited: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUPLING_AUDIT_URL", "mysql://ann:secret@localhost/x")
    app = audited()
    assert "only files of SQLite and PostgreSQL" in app.error[0].value
    assert "secret" not in app.error[0].value


def test_a_chance_stands_for_a_prediction_in_nats(audited: Open, tmp_path: Path) -> None:
    app = audited()
    next(box for box in app.number_input if box.key.startswith("audit_chance")).set_value(50.0).run()
    app.button(key="audit_predict").click().run()
    (made,) = AuditLog(f"sqlite:///{tmp_path / 'audits.sqlite'}").records()
    assert made.predicted == pytest.approx(-json.loads(made.shown)["f_current"]), "f(x′) is 0 where the chance is 50%"
