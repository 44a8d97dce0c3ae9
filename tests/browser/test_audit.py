"""The auditor's story: a blind queue by keyboard, a reload that reveals nothing, agreement, and a file of evidence."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocket, expect

from dashboard.audit.log import AuditLog, check
from dashboard.reading import data, example_rows
from dashboard.text import signed
from tests.browser.conftest import Visit, Window, settled
from tests.browser.hands import Shows, click, download, enter, parameters, until
from tests.browser.server import watch

CHECKPOINT = "gpt2--step-0300"


@pytest.fixture
def log(runs: Path) -> Iterator[AuditLog]:
    """The log that the server writes, empty at first."""
    file = runs / "audits.sqlite"
    file.unlink(missing_ok=True)
    yield AuditLog(f"sqlite:///{file}")
    file.unlink(missing_ok=True)


def numbers(runs: Path, page: Page) -> dict:
    """The run's numbers for the example on the page."""
    page.wait_for_url("**item=**")
    setting = data.Setting(CHECKPOINT, "ridge", "frozen")
    found = example_rows.example(runs / "alpha", setting, parameters(page.url)["item"])
    assert found is not None
    return found


def key(page: Page, name: str, shows: Shows) -> None:
    """Press a key with the focus outside any text box; the page takes over the box's text first."""

    def act() -> None:
        page.locator("h1").click()
        settled(page)
        page.keyboard.press(name)

    until(page, act, shows)


def predict(page: Page, direction: str, size: str) -> None:
    """By keys alone: a direction, a number, and sent off from within the box."""
    box = page.get_by_role("spinbutton", name="By how many nats")
    button = page.get_by_role("button", name="f falls" if direction == "d" else "f rises")
    key(page, direction, button.and_(page.get_by_test_id("stBaseButton-primary")))
    enter(box, size, page.get_by_text("Explanation says Δ, nats"), key="Control+Enter")


def audit_one(page: Page, direction: str, size: str, verdict: str, comment: str = "") -> None:
    """One example from the prediction to the verdict."""
    predict(page, direction, size)
    reveal(page)
    if comment:
        page.get_by_label("Comment").fill(comment)
    key(page, verdict, page.get_by_text("Verdict: "))


def signs(page: Page, name: str, shows: Shows) -> None:
    enter(page.get_by_role("textbox", name="Reviewer"), name, shows)


def reveal(page: Page) -> None:
    key(page, "f", page.get_by_role("button", name="Follows current"))


def test_a_blind_audit_from_the_first_example_to_the_evidence(
    visit: Visit, window: Window, log: AuditLog, runs: Path, tmp_path: Path, browser: Browser
) -> None:
    sent: list[bytes] = []

    def listen(socket: WebSocket) -> None:
        socket.on("framereceived", lambda frame: sent.append(frame if isinstance(frame, bytes) else frame.encode()))

    window.page.on("websocket", listen)
    page = visit("audit", run="alpha", items="2")
    signs(page, "Ann", page.get_by_text("Example 1 of 2"))
    assert "Ann" not in page.url, "a link that is passed on names nobody"
    known = numbers(runs, page)
    expect(page.locator(".prompt del").first).to_be_visible()
    secrets = [known["explanation"], known["f_edited_current"], known["effect_current"], known["effect_target"]]
    assert_hidden(page, sent, secrets)
    assert signed(known["f_current"]) in page.get_by_test_id("stMain").inner_text()

    # The prediction comes first and is kept; the explanation is next, and f(x′) stays hidden through a reload.
    predict(page, "d", "1.25")
    assert [(r.kind, r.predicted) for r in log.records()] == [("prediction", -1.25)]
    assert signed(known["explanation"]) in page.get_by_test_id("stMain").inner_text()
    assert_hidden(page, sent, secrets[1:])
    page.reload()
    settled(page)
    assert_hidden(page, sent, secrets[1:])
    signs(page, "Ann", page.get_by_text("Explanation says Δ, nats"))
    expect(page.get_by_role("button", name="Record it")).to_have_count(0)
    assert_hidden(page, sent, secrets[1:])
    window.page.remove_listener("websocket", listen)
    reveal(page)
    shown = page.get_by_test_id("stMain").inner_text()
    assert signed(known["f_edited_current"]) in shown
    assert f"off by {abs(-1.25 - known['effect_current']):.2f} nats" in shown
    assert f"off by {known['error']:.2f} nats" in shown
    assert "−f(x), scaled" in shown

    # A verdict, its undo, another verdict; then the rest of the queue.
    page.get_by_label("Comment").fill("it recites <b>the target</b>")
    key(page, "2", page.get_by_text("Verdict: follows target"))
    key(page, "z", page.get_by_label("Comment"))
    expect(page.get_by_label("Comment")).to_have_value("it recites <b>the target</b>")
    key(page, "2", page.get_by_text("Verdict: follows target"))
    assert [r.kind for r in log.records()] == ["prediction", "verdict", "undo", "verdict"]
    key(page, "o", page.get_by_text("Example 2 of 2"))
    audit_one(page, "u", "0.5", "1")
    expect(page.get_by_text("the queue is done")).to_be_visible()

    # Another reviewer, the same queue, in a new session.
    other = visit("audit", run="alpha", items="2", reviewer="Ann")
    assert "reviewer" not in parameters(other.url), "an older link lends nobody's name"
    signs(other, "Bob", other.get_by_text("Example 1 of 2"))
    for place, verdict in ((1, "2"), (2, "3")):
        expect(other.get_by_text(f"Example {place} of 2")).to_be_visible()
        audit_one(other, "d", "2", verdict, comment="seen <script>alert(1)</script>")
        key(other, "o", other.get_by_text(f"Example {3 - place} of 2"))  # after the last one, the first
    assert check(log.records()) is None
    page = visit("audit", run="alpha", items="2", view="results")
    expect(page.get_by_role("heading", name="Agreement between reviewers")).to_be_visible()
    expect(page.get_by_text("The chain is sound: 10 records")).to_be_visible()
    expect(page.get_by_role("figure")).to_have_count(1)
    file = tmp_path / "evidence.html"
    download(page.get_by_role("button", name="Evidence as one HTML file")).save_as(file)
    look_at_evidence(browser, file)


def assert_hidden(page: Page, sent: list[bytes], secrets: list[float]) -> None:
    """None of the numbers is in the page, or was sent to it as text or as a number of any width."""
    settled(page)
    sent_text, everything = page.content(), b"".join(sent)
    assert everything
    for value in secrets:
        assert signed(value) not in sent_text
        assert signed(value).encode() not in everything
        for form in ("d", "f"):
            assert struct.pack(f"<{form}", value) not in everything


def look_at_evidence(browser: Browser, file: Path) -> None:
    """It opens by itself, loads nothing, runs nothing, and its own style is let in by its policy."""
    context = browser.new_context()
    page, trouble = context.new_page(), []
    watch(page, lambda url: url == file.as_uri(), trouble)
    page.on("console", lambda message: trouble.append(message.text))
    page.goto(file.as_uri())
    expect(page.get_by_role("heading", name="Audit of explanations")).to_be_visible()
    assert page.locator("article").count() == 2
    assert page.locator("svg").count() == 2
    assert page.get_by_text("it recites <b>the target</b>").count() == 1
    assert page.get_by_text("seen <script>alert(1)</script>").count() == 2
    assert "line-through" in page.locator("del").first.evaluate("e => getComputedStyle(e).textDecorationLine")
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    context.close()
    assert not trouble, trouble


def test_hostile_text_is_shown_as_text(visit: Visit, log: AuditLog) -> None:
    page = visit("audit", run="hostile", items="4")
    signs(page, "<img src=x onerror=alert(1)>", page.get_by_text("Example 1 of 4"))
    audit_one(page, "u", "1", "4", comment="![x](https://canary.invalid/x.png) <script>window.stolen = 1</script>")
    click(page.get_by_text("Results and export").first, page.get_by_text("The chain is sound"))
    assert page.evaluate("window.stolen") is None
    assert page.locator("img[src*=canary], img[src=x]").count() == 0
