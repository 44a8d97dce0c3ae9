"""The evidence file: all of what was judged, nothing that could run or be fetched, whatever the data hold."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dashboard.audit.effects_svg import effects_svg
from dashboard.audit.evidence import evidence
from dashboard.audit.log import AuditLog, Entry, Record, canonical_json, check, last_hash
from dashboard.audit.results import judged, kappas, mean_errors
from tests.synthetic_run import HOSTILE

RUN, SETTING = "0123456789ab", canonical_json({"explainer": "ridge"})
TAGS = set(
    "html head meta title style body h1 h2 h3 p article table tr th td code div span del ins svg line circle rect "
    "polygon text".split()
)
ATTRIBUTES = set(
    "lang charset http-equiv content name class viewbox role aria-label xmlns x y x1 x2 y1 y2 cx cy r width height "
    "points fill stroke stroke-width stroke-dasharray stroke-opacity text-anchor".split()
)


class Outline(HTMLParser):
    """Checks that tags are known and closed in order; collects the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.text = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS, tag
        assert {name for name, _ in attrs} <= ATTRIBUTES, attrs
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


def shown(i: int, extra: str = "") -> dict:
    said = {"prompt": f"I am sure. Question {i}?{extra} Answer:", "edited": f"Question {i}?{extra} Answer:"}
    said |= {"edit": f"delete_cue{extra}", "answer_a": f" yes{extra}", "answer_b": " no", "text": extra or None}
    said |= {"f_current": 0.5, "f_target": 1.0, "f_edited_current": -0.75, "f_edited_target": 2.0}
    said |= {"effect_current": -1.25, "effect_target": 1.0, "explanation": 0.375, "output": -0.125}
    return said | {"stratum": "neither", "apart": 0.25}


def audited(folder: Path, extra: str = "") -> list[Record]:
    """Two reviewers on three examples; Ann took one verdict back."""
    log = AuditLog(f"sqlite:///{folder / 'audits.sqlite'}")
    for who in (f"Ann{extra[:30]}", "Bob"):
        for i in range(3):
            common = {"reviewer": who, "run": "alpha", "run_hash": RUN, "checkpoint": "gpt2--last", "setting": SETTING}
            common |= {"example_id": f"example{i}", "seed": 3, "queue": canonical_json({"items": 3})}
            first = log.append(Entry(kind="prediction", predicted=0.5 * i - 1, shown=canonical_json({}), **common))
            common |= {"refers_to": first.id, "shown": canonical_json(shown(i, extra))}
            verdict = ("current", "target", "undecidable")[i]
            made = log.append(Entry(kind="verdict", verdict=verdict, comment=f"because {i}{extra}", **common))
    log.undo(made)
    return log.records()


def file(records: list[Record], **provenance: str) -> str:
    rows = judged(records, RUN, SETTING)
    found = {"errors": mean_errors(rows, {"neither": 10}), "kappas": kappas(rows), "chain": check(records) or "sound"}
    return evidence(records, run_hash=RUN, setting=SETTING, provenance=provenance, **found)


def test_it_holds_every_judged_example_with_its_numbers_and_hashes(tmp_path: Path) -> None:
    records = audited(tmp_path)
    found = Outline(file(records, run="alpha, content 0123", packages="torch 2"))
    texts = ["3 examples judged, 5 standing verdicts by 2 reviewers", "alpha, content 0123", "torch 2", "sound"]
    texts += ["−1.25", "+1.00", "+0.38", "predicted by Ann", "because 1", "follows target", "takes back record 12"]
    for text in (*texts, "Cohen's kappa", last_hash(records), *(record.hash for record in records)):
        assert text in found.text
    assert [found.count[tag] for tag in ("article", "svg", "del")] == [3, 3, 3]
    assert found.text.count("because 2") == 1  # Bob's was undone


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    extra = " ".join(HOSTILE) + "\0</style></svg>\ud800"
    text = file(audited(tmp_path, extra), note=extra)
    found = Outline(text)
    assert "alert('script ran')" in found.text
    assert "](https://canary.invalid" in found.text
    assert "\\x07" in found.text
    assert "\u202e" not in found.text
    assert text.lower().count("<style>") == 1


def test_the_policy_allows_its_own_style_and_nothing_else(tmp_path: Path) -> None:
    text = file(audited(tmp_path, " ".join(HOSTILE)))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    assert "style=" not in text.replace("&", "")
    assert not re.search(r"@import|url\(", style)


def test_nothing_judged_yet_is_said(tmp_path: Path) -> None:
    found = Outline(evidence([], run_hash=RUN, setting=SETTING, provenance={}, chain="sound"))
    assert "No example is judged yet" in found.text


def test_other_settings_and_runs_are_left_out(tmp_path: Path) -> None:
    records = audited(tmp_path)
    other = evidence(records, run_hash=RUN, setting=canonical_json({"explainer": "mlp"}), provenance={}, chain="sound")
    assert "example0" not in other
    assert "example0" not in evidence(records, run_hash="f" * 12, setting=SETTING, provenance={}, chain="sound")


def test_pictures_place_numbers_to_scale() -> None:
    svg = effects_svg(shown(0), [("Ann", 0.0), ("Bob", None)])
    rows = re.findall(r'text-anchor="end">([^<]*)</text><line x1="([\d.]+)" y1="\d+" x2="([\d.]+)"', svg)
    start, end = {n: float(a) for n, a, _ in rows}, {n: float(b) for n, _, b in rows}
    assert start["current"] == start["explanation"] == start["Ann"] == end["Ann"]
    nat = end["target"] - start["target"]  # its effect is 1
    assert end["current"] - start["current"] == pytest.approx(-1.25 * nat, abs=0.2)
    assert end["explanation"] - start["explanation"] == pytest.approx(0.375 * nat, abs=0.2)
    assert "Bob" not in svg
    assert "−0<" not in svg
