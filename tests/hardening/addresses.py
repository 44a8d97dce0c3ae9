"""Pages opened at addresses whose parameters hold odd values."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from dashboard.selection.resolve import NAMES
from tests.dashboard.app import PAGES
from tests.hardening.damage import drawn

OTHERS = (
    "examples",
    "regimes",
    "from",
    "draft",
    "reviewer",
    "step",
    "kinds",
    "section",
    "measure",
    "x",
    "y",
    "view",
    "split_by",
)
VALUES = (
    *(
        "",
        " ",
        "\0",
        "\ufffd",
        "..",
        "../../etc/passwd",
        "/",
        "\\",
        "%00",
        "%",
        "nan",
        "inf",
        "-inf",
        "1e400",
        "-1",
        "0",
    ),
    *(
        "9" * 6000,
        "1" + "0" * 40,
        "0.5",
        "true",
        "null",
        "None",
        "[]",
        "{}",
        "<script>alert(1)</script>",
        "'; DROP",
        '"',
    ),
    *(
        "x" * 100_000,
        "é",
        "e\u0301",
        "\u202e",
        "🏳️‍🌈",
        "\n",
        "\r\nX: y",
        "\t",
        "good",
        "bad",
        "gpt2--step-0100",
        "ridge",
    ),
    *("online", "shuffle-0.5", "shuffle-nan", "gaussian-1e400", "test_heldout", "error:..", "error:1..0", "lasso:"),
    *(
        "lasso:1,2,x",
        "lasso:" + "1," * 5000,
        "text:",
        "name:",
        "signs:sideways",
        "a;" * 3000,
        ":",
        "|",
        "group:" + "x|" * 999,
    ),
    *(
        "delete_cue",
        "all",
        "step",
        "[" * 3000,
        "$(id)",
        "`id`",
        "{{7*7}}",
        "%s%n",
        "2",
        "99999999999",
        "0x10",
        "١",
        "½",
    ),
)


def opened(folder: Path, n: int, seed: int = 0) -> Iterator[str]:
    """One line for each address at which a page raises; an empty one where it does not. The folder has a run `good`."""
    draw = random.Random(seed)
    for i in range(n):
        page, value = PAGES[i % len(PAGES)], VALUES[i % len(VALUES)]
        names = draw.sample([*NAMES, *OTHERS], draw.choice((1, 1, 2, 3)))
        asked = {"run": "good"} | {name: value if k == 0 else draw.choice(VALUES) for k, name in enumerate(names)}
        app = drawn(folder, page, **asked)
        shown = {name: text[:40] for name, text in asked.items()}
        yield f"{page} {shown}: {app.exception[0].value[:200]}" if app.exception else ""
