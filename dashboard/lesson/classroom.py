"""What the class does: it predicts, shows hands, and then sees. Kept for the session, while steps are walked.

Everything is kept under a key that names the step and what it is about (a run, an example), so that another
task starts with a clean board and the first one's predictions are still there on the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import streamlit as st

from dashboard.charts.learn import hands
from dashboard.lesson.words import UNDECIDED, Reveal, votes_against
from dashboard.text import escaped, markdown_escaped

MOST_HANDS = 999


@dataclass
class Board:
    """What was written on the board for one question."""

    guess: str | float | None = None
    hands: dict[str, int] = field(default_factory=dict)
    shown: bool = False


def boards() -> dict[str, Board]:
    return st.session_state.setdefault("lesson_boards", {})


def board(key: str) -> Board:
    return boards().setdefault(key, Board())


def wipe(prefix: str = "") -> None:
    """Forget the boards of one step, or all."""
    for key in [k for k in boards() if k.startswith(prefix)]:
        del boards()[key]


def choice(key: str, question: str, labels: Mapping[str, str]) -> Board:
    """A question with a few answers, and a show of hands for a class. labels: plain words."""
    own = board(key)
    _question(question)
    segments(key, labels)
    with st.expander("Show of hands", icon=":material/front_hand:", expanded=bool(own.hands)):
        for name, label in labels.items():
            number = f"hands_{key}_{name}"
            st.session_state[number] = own.hands.get(name, 0)
            st.number_input(
                f"Hands for “{markdown_escaped(label)}”", 0, MOST_HANDS, key=number, on_change=_counted,
                args=(key, name, number),
            )  # fmt: skip
    reveal_button(key)
    return own


def segments(key: str, labels: Mapping[str, str]) -> None:
    """The answers to choose from. Buttons, since a group of choices would keep the arrow keys for itself."""
    guess = board(key).guess
    with st.container(horizontal=True):
        for name, label in labels.items():
            chosen = guess == name
            st.button(
                markdown_escaped(label), key=f"guess_{key}_{name}", type="primary" if chosen else "secondary",
                icon=":material/check:" if chosen else None, on_click=_chosen, args=(key, name),
            )  # fmt: skip


def _chosen(key: str, name: str) -> None:
    """Choose an answer; the same once more takes it back."""
    own = board(key)
    own.guess = None if own.guess == name else name


def slider(
    key: str, question: str, *, low: float = -1.0, high: float = 1.0, start: float = 0.5, unit: str = "r"
) -> Board:
    """A question whose answer is a number."""
    own = board(key)
    _question(question)
    widget = f"guess_{key}"
    st.session_state[widget] = start if own.guess is None else float(own.guess)
    label = f"Our prediction of {unit}"
    st.slider(label, low, high, key=widget, step=0.05, format="%.2f", on_change=_guessed, args=(key, widget))
    if own.guess is None:
        st.caption("Move the slider to predict; or reveal without a prediction.")
    reveal_button(key)
    return own


def _question(question: str) -> None:
    st.html(f'<p class="question">{escaped(question)}</p>')


def _guessed(key: str, widget: str) -> None:
    board(key).guess = st.session_state[widget]


def _counted(key: str, name: str, widget: str) -> None:
    board(key).hands[name] = int(st.session_state[widget])


def _show(key: str) -> None:
    board(key).shown = True


def _hide(key: str) -> None:
    board(key).shown = False


def reveal_button(key: str) -> None:
    own = board(key)
    if own.shown:
        st.button("Hide again", key=f"hide_{key}", icon=":material/visibility_off:", on_click=_hide, args=(key,))
    else:
        st.button(
            "Reveal", key=f"reveal_{key}", type="primary", icon=":material/visibility:", on_click=_show, args=(key,),
            shortcut="v", help="What was measured. Key: V.",
        )  # fmt: skip


def answer(reveal: Reveal) -> None:
    """What was measured, in words; what contradicts the lesson has another sign, word and frame."""
    if reveal.answer == UNDECIDED:
        kind, sign = "other", "? Open"
    else:
        kind, sign = ("told", "✓ Measured") if reveal.as_told else ("other", "! Measured, and not as one would hope")
    st.html(
        f'<div class="reveal {kind}"><p class="sign">{sign}</p><p class="headline">{escaped(reveal.headline)}</p>'
        f"<p>{escaped(reveal.sentence)}</p></div>"
    )


def verdict_on_guess(own: Board, reveal: Reveal, labels: Mapping[str, str], key: str) -> None:
    """What was predicted beside what the numbers support, and the show of hands as a figure."""
    if isinstance(own.guess, str) and own.guess in labels:
        right = own.guess == reveal.answer
        known = reveal.answer in labels
        said = "the numbers support it" if right else "the numbers do not support it" if known else "they leave it open"
        say(f"Predicted: “{labels[own.guess]}”: {said}.")
    votes = {name: own.hands.get(name, 0) for name in labels}
    line = votes_against(votes, reveal.answer, labels)
    if line:
        say(line)
        figure = hands(votes, labels, reveal.answer if reveal.answer in labels else None)
        st.plotly_chart(figure, key=f"votes_{key}", alt=f"Show of hands. {line}", config={"displayModeBar": False})


def say(text: str) -> None:
    """A paragraph of plain text, large."""
    st.html(f"<p>{escaped(text)}</p>")
