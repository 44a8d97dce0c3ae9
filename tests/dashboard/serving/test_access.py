"""Who may do what: the roles, the claims that count, and every function that writes, deletes or spends."""

from __future__ import annotations

import inspect
import io
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from dashboard.audit.log import AuditLog
from dashboard.reading import models
from dashboard.runs import data_import, forecast, jobs, run_import, trash
from dashboard.selection import saved_slices
from dashboard.serving import access
from dashboard.serving.access import AccessError, Person, Roles, known, read_roles
from engine import SAMPLES
from engine.config import InputError
from engine.spec_files import load_spec
from tests.dashboard.app import Open, checked, said
from tests.dashboard.audit.test_log import entry
from tests.synthetic_run import write_run

ROLES = Roles(roles={"ann@example.org": "auditor"}, default="viewer")


def claims(**changes: object) -> dict:
    now = {"is_logged_in": True, "email": "ann@example.org", "email_verified": True, "iat": time.time() - 60}
    return now | changes


@pytest.mark.parametrize(
    ("changes", "role"),
    [
        ({}, "auditor"),
        ({"email": " ANN@example.ORG "}, "auditor"),
        ({"email": "bob@example.org"}, "viewer"),
        ({"name": "ann@example.org", "email": "bob@example.org"}, "viewer"),
        ({"email_verified": False}, None),
        ({"email_verified": "true"}, None),
        ({"email_verified": None}, None),
        ({"email": ""}, None),
        ({"email": None}, None),
        ({"is_logged_in": False}, None),
        ({"is_logged_in": "true"}, None),
        ({"iat": None}, None),
        ({"iat": time.time() - access.HOURS * 3600 - 60}, None),
    ],
)
def test_which_claims_count(changes: dict, role: str | None) -> None:
    found = known(claims(**changes), ROLES)
    assert found.role == role and bool(found.why) == (role is None)


def test_a_provider_may_be_trusted_with_e_mails() -> None:
    trusting = ROLES.model_copy(update={"accept_unverified_email": True})
    assert known(claims(email_verified=None), trusting).role == "auditor"
    assert known(claims(email="bob@example.org"), Roles()).role is None


def test_each_role_may_do_what_the_one_before_it_may() -> None:
    rights = [
        [Person("", role).may(right) for right in access.NEEDS] for role in (None, "viewer", "auditor", "operator")
    ]
    assert rights == [[False, False, False], [True, False, False], [True, True, False], [True, True, True]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[roles]\n"ann@example.org" = "owner"', "ann@example.org"),
        ('default = "all"', "default"),
        ('[role]\n"ann@example.org" = "viewer"', "unknown key 'role'"),
        ('[roles]\n"ann@example.org" = "viewer"\n"Ann@example.org" = "operator"', "stands twice"),
        ("[roles", "can't be read"),
        (None, "can't be read"),
    ],
)
def test_a_bad_file_of_roles_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    file = tmp_path / "roles.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=said) as raised:
        read_roles(file)
    assert str(file) in str(raised.value) and "\n" not in str(raised.value)


def actions(folder: Path) -> dict[str, Callable[[], object]]:
    """Every function that writes, deletes or spends, called as a page calls it."""
    spec, job = load_spec(SAMPLES / "specs" / "demo.yaml"), jobs.Job(folder / "job", "x", folder / "x", 0.0)
    entry = trash.Trashed(folder / ".trash" / "x", Path("x"), datetime.now())

    def load() -> None:
        with models.model(folder / "alpha", "gpt2--step-0000"):
            pass

    return {
        "start": lambda: jobs.start(spec, folder),
        "resume": lambda: jobs.resume(folder / "alpha", folder),
        "cancel": lambda: jobs.cancel(job),
        "forget": lambda: jobs.forget(job),
        "import_run": lambda: run_import.import_run(io.BytesIO(), folder),
        "delete": lambda: trash.delete(folder / "alpha", [folder]),
        "restore": lambda: trash.restore(entry),
        "empty": lambda: trash.empty([entry]),
        "forecast": lambda: forecast.forecast(spec, folder),
        "bring_in": lambda: data_import.bring_in("x.jsonl", b"", {"format": "bbq"}, folder),
        "save": lambda: saved_slices.save(folder / "alpha", "mine", None),
        "model": load,
    }


def as_role(monkeypatch: pytest.MonkeyPatch, role: access.Role | None) -> None:
    monkeypatch.setattr(access, "person", lambda: Person("ann@example.org", role, "ann@example.org has no role here"))


@pytest.mark.parametrize("role", [None, "viewer", "auditor"])
def test_who_is_no_operator_changes_and_spends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, role: access.Role | None
) -> None:
    write_run(tmp_path / "alpha", prompts=20, checkpoints=2)
    before = sorted(tmp_path.rglob("*"))
    as_role(monkeypatch, role)
    for name, act in actions(tmp_path).items():
        with pytest.raises(AccessError, match="needs the role operator"):
            act()
            pytest.fail(name)
    assert sorted(tmp_path.rglob("*")) == before


def test_every_public_function_that_changes_something_is_among_them(tmp_path: Path) -> None:
    """What these rooms offer beside `actions` only reads."""
    reads = {
        "inside",
        "job_of",
        "spec_of",
        "command",
        "jobs",
        "state",
        "alive",
        "process_of",
        "writes",
        "progress",
        "log",
    }
    reads |= {"reason", "is_sample", "why_not", "trashed", "home_of", "refuse_strays"}
    reads |= {"section", "sources"}
    for room in (jobs, trash, run_import, forecast, data_import):
        own = {n for n, f in inspect.getmembers(room, inspect.isfunction) if f.__module__ == room.__name__}
        assert {n for n in own if not n.startswith("_")} - reads <= set(actions(tmp_path)), room.__name__


def test_an_audit_record_carries_who_is_signed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(f"sqlite:///{tmp_path / 'a.sqlite'}")
    as_role(monkeypatch, "viewer")
    with pytest.raises(AccessError, match="needs the role auditor"):
        log.append(entry(reviewer="Olga"))
    assert log.records() == []
    as_role(monkeypatch, "auditor")
    assert log.append(entry(reviewer="Olga")).reviewer == "ann@example.org"


def test_without_sign_in_the_person_at_this_machine_has_all_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(access.ROLES, raising=False)
    assert all(access.require(right) == access.LOCAL for right in access.NEEDS)


def test_with_sign_in_code_that_nobody_asked_for_may_do_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roles.toml").write_text('default = "operator"')
    monkeypatch.setenv(access.ROLES, str(tmp_path / "roles.toml"))
    with pytest.raises(AccessError, match="Nobody is signed in"):
        access.require("read")


def test_a_job_does_not_inherit_what_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.AUDIT_URL, "postgresql://ann:secret@localhost/audits")
    show = ["-c", "import os; print(sorted(os.environ))"]
    monkeypatch.setattr(jobs, "command", lambda job: [os.sys.executable, *show])  # type: ignore[attr-defined]
    job = jobs.start(load_spec(SAMPLES / "specs" / "demo.yaml"), tmp_path)
    while jobs.alive(job):
        time.sleep(0.05)
    assert "COUPLING_CONSENT" in jobs.log(job) and access.AUDIT_URL not in jobs.log(job)


PAGE_OF = {"viewer": ("overview", "runs", "audit", "lab"), None: ("overview", "runs")}


@pytest.mark.parametrize(("role", "page"), [(role, page) for role, pages in PAGE_OF.items() for page in pages])
def test_pages_are_drawn_for_those_who_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Open, role: access.Role | None, page: str
) -> None:
    write_run(tmp_path / "alpha", prompts=60, checkpoints=2)
    (tmp_path / "roles.toml").write_text(f'[roles]\n"ann@example.org" = "{role}"' if role else "")
    app = opened(tmp_path, page, run="alpha")  # at this machine, so that the harness knows its pages
    monkeypatch.setenv(access.ROLES, str(tmp_path / "roles.toml"))
    app.user = claims()
    app = checked(app.run())
    buttons = {b.label for b in app.button}
    assert "Sign out" in buttons
    if role:
        assert "ann@example.org · viewer" in [t.value for t in app.sidebar.text]
        assert not buttons & {"Delete", "Go on", "New run like this", "Record it, and see the explanation"}
    else:
        assert "has no role here" in said(app) and "alpha" not in said(app)
