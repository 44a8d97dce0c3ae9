"""A shared server as the image starts it, people who sign in at a real provider, and what each of them may do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.audit.log import AuditLog
from engine import ROOT, child_environment
from engine.serve import free_port
from tests.browser.conftest import settled
from tests.browser.hands import click, enter
from tests.browser.server import PATIENCE, WATCH
from tests.oidc import SECRET, Provider, provider, secrets_file
from tests.synthetic_run import write_run

SERVING = ROOT / "dashboard" / "serving"
VERIFIED = {"email_verified": True}
PEOPLE = {
    "vera": {"email": "vera@example.org"} | VERIFIED,
    "ann": {"email": "Ann@Example.org", "name": "olga@example.org"} | VERIFIED,
    "olga": {"email": "olga@example.org"} | VERIFIED,
    "mallory": {"email": "olga@example.org", "email_verified": False},
    "stranger": {"email": "somebody@elsewhere.example"} | VERIFIED,
}
ROLES = """[roles]
"vera@example.org" = "viewer"
"ann@example.org" = "auditor"
"olga@example.org" = "operator"
"""
SignIn = Callable[[str], Page]


class Shared:
    """A shared server over a folder of runs, with its provider."""

    def __init__(self, runs: Path, address: str, log: Path, settings: Path, provider: Provider) -> None:
        self.runs, self.address, self.log, self.settings, self.provider = runs, address, log, settings, provider


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder, runs = tmp_path_factory.mktemp("settings"), tmp_path_factory.mktemp("runs")
    write_run(runs / "alpha", prompts=60, checkpoints=2)
    port = free_port(32_000)
    address = f"http://localhost:{port}"
    with provider(f"{address}/oauth2callback", PEOPLE) as there:
        (folder / "secrets.toml").write_text(secrets_file(there.issuer, there.redirect))
        (folder / "roles.toml").write_text(ROLES)
        log, environment = folder / "log", in_image(RUNS=str(runs), SETTINGS=str(folder), PORT=str(port))
        with log.open("w") as out:
            process = subprocess.Popen(["sh", SERVING / "start.sh"], env=environment, stdout=out, stderr=out)
            try:
                while subprocess.run(["sh", SERVING / "health.sh"], env=environment, capture_output=True).returncode:
                    assert process.poll() is None, log.read_text()
                    time.sleep(0.2)
                yield Shared(runs, address, log, folder, there)
            finally:
                process.send_signal(2)
                process.wait(60)


def in_image(**variables: str) -> dict[str, str]:
    """The environment of the image's scripts: the command `coupling` of the Python that runs the tests."""
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    return child_environment(PATH=os.pathsep.join(path), **variables)


def status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE / 1000) as answer:
            return answer.status
    except HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def page(shared: Shared, browser: Browser) -> Iterator[Page]:
    """A window that is kept, so that Streamlit's own code is loaded once."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.add_init_script(f"({WATCH})()")
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


@pytest.fixture
def sign_in(shared: Shared, page: Page) -> SignIn:
    """`sign_in(who)`: the window, in which that person has signed in and nobody was before."""

    def as_person(who: str) -> Page:
        page.goto("about:blank")
        page.context.clear_cookies()
        page.goto(f"{shared.address}/runs?run=alpha")
        settled(page)
        expect(page.get_by_text("alpha")).to_have_count(0)
        with page.expect_navigation(url=f"{shared.provider.issuer}/**"):
            page.get_by_role("button", name="Sign in").click()
        page.get_by_role("link", name=who).click()
        page.wait_for_url(f"{shared.address}/**")
        settled(page)
        return page

    return as_person


def go(page: Page, shared: Shared, where: str) -> None:
    page.goto(f"{shared.address}/{where}")
    settled(page)


def test_a_viewer_reads_and_signs_out(shared: Shared, sign_in: SignIn) -> None:
    page = sign_in("vera")
    expect(page.get_by_text("vera@example.org · viewer")).to_be_visible()
    go(page, shared, "runs?run=alpha&section=trash")
    expect(page.get_by_role("heading", name="alpha")).to_be_visible()
    for name in ("Delete", "New run like this"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    go(page, shared, "audit?run=alpha&reviewer=Olga")
    expect(page.get_by_text(re.compile("Reviewer: vera@.?example.org"))).to_be_visible()
    expect(page.get_by_text("Audits are written by")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(f"{shared.address}/overview")
    settled(page)
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()
    assert "_streamlit_user" not in {cookie["name"] for cookie in page.context.cookies()}


def test_an_auditors_records_carry_the_e_mail_and_nothing_else(shared: Shared, sign_in: SignIn) -> None:
    page = sign_in("ann")
    go(page, shared, "audit?run=alpha&reviewer=Olga")
    expect(page.get_by_text(re.compile("Reviewer: ann@.?example.org"))).to_be_visible()
    falls = page.get_by_role("button", name="f falls")
    click(falls, falls.and_(page.get_by_test_id("stBaseButton-primary")))
    shows = page.get_by_text("Explanation says Δ, nats")
    enter(page.get_by_role("spinbutton", name="By how many nats"), "1.5", shows, key="Control+Enter")
    (made,) = AuditLog(f"sqlite:///{shared.runs / 'audits.sqlite'}").records()
    assert (made.kind, made.reviewer) == ("prediction", "ann@example.org")
    go(page, shared, "runs?run=alpha")
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)


def test_an_operator_deletes_until_the_role_is_taken_away(shared: Shared, sign_in: SignIn) -> None:
    page = sign_in("olga")
    go(page, shared, "runs?run=alpha")
    click(page.get_by_role("button", name="Delete", exact=True), page.get_by_role("button", name="Move to the trash"))
    (shared.settings / "roles.toml").write_text(ROLES.replace('"operator"', '"viewer"'))
    try:
        page.get_by_role("button", name="Move to the trash").click()
        expect(page.get_by_text("olga@example.org · viewer")).to_be_visible()
        assert (shared.runs / "alpha").is_dir()
    finally:
        (shared.settings / "roles.toml").write_text(ROLES)


@pytest.mark.parametrize(("who", "why"), [("mallory", "has not verified the e-mail"), ("stranger", "has no role here")])
def test_who_has_no_role_sees_nothing(shared: Shared, sign_in: SignIn, who: str, why: str) -> None:
    page = sign_in(who)
    expect(page.get_by_text(why)).to_be_visible()
    go(page, shared, "runs?run=alpha")
    expect(page.get_by_text(why)).to_be_visible()
    expect(page.get_by_text("alpha")).to_have_count(0)


def test_files_and_uploads_need_a_role_and_other_names_get_nothing(shared: Shared) -> None:
    for path in ("media/absent.zip", "_stcore/upload_file/a/b", "_stcore/metrics"):
        assert status(f"{shared.address}/{path}") == 403
    assert status(shared.address) == 200
    request = urllib.request.Request(shared.address, headers={"Host": "evil.example"})
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(request, timeout=PATIENCE / 1000)
    assert refused.value.code == 400


def test_no_secret_is_in_the_log(shared: Shared) -> None:
    said, kept = shared.log.read_text(), (shared.settings / "secrets.toml").read_text()
    cookie = next(line for line in kept.splitlines() if line.startswith("cookie_secret")).split('"')[1]
    assert shared.provider.signed, "somebody signed in"
    for secret in (SECRET, cookie, *shared.provider.signed):
        assert secret not in said
    assert "Traceback" not in said
