"""What the class does: it predicts, shows hands, and then sees. Kept for the session, while steps are walked.

Boards are kept under keys that name the step and what it is about (a run, an example). So another task starts with a
clean board, and the predictions of the first task are still there on the way back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import streamlit as st

from dashboard.charts.learn import hands
from dashboard.lesson import look
from dashboard.lesson.words import UNDECIDED, Reveal, guess_against, votes_against
from dashboard.reading.agreement import Estimate
from dashboard.text import escaped, markdown_escaped
from dashboard.widgets import figures

MOST_HANDS = 999


@dataclass
class Board:
    """What was written on the board for one question."""

    guess: str | float | None = None
    hands: dict[str, int] = field(default_factory=dict)
    shown: bool = False

    @property
    def number(self) -> float | None:
        """The guess, where the question asks for a number."""
        return self.guess if isinstance(self.guess, float) else None


def boards() -> dict[str, Board]:
    return st.session_state.setdefault("lesson_boards", {})


def board(key: str) -> Board:
    return boards().setdefault(key, Board())


def wipe(prefix: str = "") -> None:
    """Forget the boards of one step, or all."""
    for key in [k for k in boards() if k.startswith(prefix)]:
        del boards()[key]


def choice(key: str, question: str, labels: Mapping[str, str]) -> Board:
    """A question with a few answers, and a show of hands for a class. labels: key of the answer → plain words."""
    own = board(key)
    ask(question)
    answers(key, labels)
    with st.expander("Show of hands", icon=":material/front_hand:", expanded=bool(own.hands)):
        width = 240 if len(labels) < 4 else 150
        with st.container(horizontal=True, vertical_alignment="bottom"):
            for name, label in labels.items():
                widget = f"hands_{key}_{name}"
                st.session_state[widget] = own.hands.get(name, 0)
                title, does = f"Hands for “{markdown_escaped(label)}”", {"on_change": _count}
                st.number_input(title, 0, MOST_HANDS, key=widget, args=(own, name, widget), width=width, **does)
    reveal_button(key)
    return own


def answers(key: str, labels: Mapping[str, str]) -> None:
    """The answers to choose from. Buttons, since a group of choices would keep the arrow keys for itself."""
    own = board(key)
    with st.container(horizontal=True):
        for name, label in labels.items():
            chosen = own.guess == name
            mark = {"type": "primary", "icon": ":material/check:"} if chosen else {}
            title = markdown_escaped(label)
            st.button(title, key=f"guess_{key}_{name}", on_click=_choose, args=(own, None if chosen else name), **mark)


def slider(key: str, question: str, *, start: float = 0.5, unit: str = "r") -> Board:
    """A question whose answer is a correlation."""
    own = board(key)
    ask(question)
    widget = f"guess_{key}"
    st.session_state[widget] = start if own.number is None else own.number
    label, steps = f"Our prediction of {unit}", {"step": 0.05, "format": "%.2f"}
    about = "1: they rise and fall in step; 0: unrelated; −1: one falls where the other rises."
    change = {"on_change": lambda: _choose(own, st.session_state[widget])}
    st.slider(label, -1.0, 1.0, key=widget, help=about, **change, **steps)
    if own.guess is None:
        st.caption("Move the slider to predict; or reveal without a prediction.")
    reveal_button(key)
    return own


def ask(question: str) -> None:
    st.html(f'<p class="question">{escaped(question)}</p>')


def _choose(own: Board, guess: str | float | None) -> None:
    own.guess = guess


def _count(own: Board, name: str, widget: str) -> None:
    own.hands[name] = int(st.session_state[widget])


def _show(own: Board, shown: bool) -> None:
    own.shown = st.session_state["lesson_just_shown"] = shown


def reveal_button(key: str) -> None:
    """A button that shows what was measured, or hides it again."""
    own = board(key)
    does = {"on_click": _show, "args": (own, not own.shown)}
    if own.shown:
        st.button("Hide again", key=f"hide_{key}", icon=":material/visibility_off:", **does)
    else:
        does |= {"type": "primary", "icon": ":material/visibility:", "help": "What was measured. Key: V."}
        st.button("Reveal", key=f"reveal_{key}", shortcut="v", **does)


def box(headline: str, *paragraphs: str, sign: str = "", expected: bool = True) -> None:
    """Plain text in a frame; what contradicts the lesson has another frame, and a sign to say so."""
    said = f'<p class="sign">{sign}</p>' if sign else ""
    said += f'<p class="headline">{escaped(headline)}</p>' + "".join(f"<p>{escaped(p)}</p>" for p in paragraphs)
    st.html(f'<div class="reveal {"expected" if expected else "other"}">{said}</div>')
    if st.session_state.pop("lesson_just_shown", False):
        st.html(look.TO_REVEAL, unsafe_allow_javascript=True)


def show_answer(reveal: Reveal) -> None:
    """What was measured, in words."""
    undecided = reveal.answer == UNDECIDED
    sign = "✓ Measured" if reveal.as_expected else "! Measured, and not as one would hope"
    expected = reveal.as_expected and not undecided
    box(reveal.headline, reveal.sentence, sign="? Open" if undecided else sign, expected=expected)


def answer_number(own: Board, reveal: Reveal, measured: Estimate, name: str) -> None:
    """What was measured, and the number that was predicted beside it."""
    show_answer(reveal)
    if own.number is not None:
        say(guess_against(own.number, measured, name))


def answer_choice(own: Board, reveal: Reveal, labels: Mapping[str, str], key: str) -> None:
    """What was measured, then what was predicted, and the show of hands as a figure."""
    show_answer(reveal)
    known = reveal.answer in labels
    if own.guess in labels:
        no = "the numbers do not support it" if known else "they leave it open"
        say(f"Predicted: “{labels[str(own.guess)]}”: {'the numbers support it' if own.guess == reveal.answer else no}.")
    votes = {name: own.hands.get(name, 0) for name in labels}
    if line := votes_against(votes, reveal.answer, labels):
        say(line)
        figure = hands(votes, labels, reveal.answer if known else None)
        figures.chart(figure, key=f"votes_{key}", alt=f"Show of hands. {line}", config={"displayModeBar": False})


def say(text: str) -> None:
    """A paragraph of plain text, large."""
    st.html(f"<p>{escaped(text)}</p>")
