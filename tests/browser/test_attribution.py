"""Which words carry an example: token attribution at both checkpoints beside effect and explanation, in a browser."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.hands import click, fits, on_a_phone, soon
from tests.browser.test_lab import tiny

__all__ = ["tiny"]

LINES = """all => all.map(e => {
  const style = getComputedStyle(e);
  return [e.className, style.borderTopStyle, style.borderBottomStyle, parseFloat(e.style.getPropertyValue('--share'))];
})"""


def test_token_attribution_stands_beside_effect_and_explanation(visit: Visit, tiny: Path) -> None:
    page = visit("examples", run=tiny.name, sort="shift")
    compute, heats = page.get_by_role("button", name="Compute on both checkpoints"), page.locator(".prompt.heat")
    click(page.locator("summary", has_text="Which words carry it"), compute)
    assert heats.count() == 0, "nothing is computed before it is asked for"
    click(compute, soon(expect(heats).to_have_count, 2))
    assert page.get_by_test_id("stAlert").count() == 0
    fits(page)
    on_a_phone(page)
    tokens = [token for heat in heats.all() for token in heat.locator("span").evaluate_all(LINES)]
    assert {"up", "down"} <= {token[0] for token in tokens}
    for sign, above, below, _ in tokens:  # a line above or below the token says the sign, beside the colour
        assert (above, below) == {"up": ("solid", "none"), "down": ("none", "solid")}.get(sign, ("none", "none"))
    assert max(token[3] for token in tokens) == 100
    expect(page.get_by_text("One scale for both checkpoints: the deepest shade is")).to_be_visible()
    for table in ("Attribution of every token", "Attribution, measured effect and explanation of every edit"):
        expect(page.get_by_role("region", name=table)).to_be_visible()
    fits(page)
