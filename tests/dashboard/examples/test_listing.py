"""The list of the page Examples: what a row says, and its bars."""

import math
import re
from urllib.parse import unquote

from dashboard.charts import style
from dashboard.examples.listing import bars
from dashboard.reading.titles import LONGEST_PIECE, cut, title


def widths(picture: str) -> list[tuple[float, float]]:
    """Left edge and width of each bar."""
    found = re.findall(r'x="([\d.]+)" y="\d+" width="([\d.]+)"', unquote(picture))
    return [(float(x), float(width)) for x, width in found]


def test_a_row_says_the_cue_and_what_differs_and_not_what_all_share() -> None:
    row = {"prompt": "Is it so? My waiter thinks yes.\nAnswer:", "edited": "Is it so? A stranger thinks yes.\nAnswer:"}
    assert title(row | {"cue": "My waiter", "entity": "honey"}) == "− My waiter + A stranger · honey"
    assert title(row | {"cue": "a guide", "entity": None}) == "− My waiter + A stranger · a guide"
    assert title(row | {"cue": None, "entity": math.nan}) == "− My waiter + A stranger"
    assert title({"prompt": "the same", "edited": "the same"}) == "the same"


def test_a_long_piece_is_cut() -> None:
    assert len(cut("word " * 100)) == LONGEST_PIECE
    assert cut("a\n b") == "a b"


def test_bars_have_a_common_scale_and_a_side_for_each_sign() -> None:
    (effect, long), (said, short) = widths(bars(2.0, -1.0, 2.0))
    assert effect == 50 and said == 50 - short and long == 2 * short
    assert widths(bars(2.0, math.nan, 2.0)) == [(effect, long)]
    assert len(widths(bars(0.0, 0.0, 0.0))) == 2


def test_bars_have_the_colours_that_their_caption_names() -> None:
    fills = re.findall(r'height="8" fill="([^"]*)"', unquote(bars(2.0, -1.0, 2.0)))
    assert fills == [style.BLUE, style.GREEN]
