"""The lesson for a class: seven steps from what a counterfactual is to what may be said."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from dashboard.lesson import classroom, look, roles, steps_behavior, steps_controls
from dashboard.lesson.roles import Told
from dashboard.lesson.step_recap import recap
from dashboard.reading import data
from dashboard.selection.state import no_runs, problem
from dashboard.text import escaped, markdown_escaped
from dashboard.widgets.figures import choose, keep
from engine.runs.store import RunError

Step = tuple[str, str, Callable[[Told], None] | None]
STEPS: Sequence[Step] = (
    ("What is a counterfactual?", "story", steps_behavior.counterfactual),
    ("What does an explainer learn?", "story", steps_behavior.explainer),
    ("Behavior drifts", "story", steps_behavior.drift),
    ("Whom does the explanation follow?", "story", steps_controls.follow),
    ("A known null: nothing to report", "null", steps_controls.null),
    ("A known positive: a gap from the output alone", "lookalike", steps_controls.lookalike),
    ("What may be said", "story", None),
)
ROLE_NAMES = {"story": "Run of the story", "null": "Run of the known null", "lookalike": "Run of the known positive"}


def main() -> None:
    st.html(look.STYLE)
    step = current_step()
    st.title(f"{step}. {STEPS[step - 1][0]}", anchor=False)
    navigation(step)
    told, problems = roles.tellers()
    if not told:
        for line in problems:
            problem(line)
        no_runs()
        return
    cast = casting(told)
    _, role, draw = STEPS[step - 1]
    teller = cast[role]
    if teller is None:
        missing(role)
        return
    try:
        if draw is None:
            recap(teller, cast["null"], cast["lookalike"])
        else:
            draw(teller)
    except RunError as error:
        problem(str(error))


def current_step() -> int:
    given = st.query_params.get("step", "1")
    step = int(given) if given in {str(i) for i in range(1, len(STEPS) + 1)} else 1
    if given != str(step):
        st.warning(
            f"The link does not fit: there is no step {markdown_escaped(given[:40])}.", icon=":material/link_off:"
        )
    st.query_params["step"] = str(step)
    if st.session_state.get("lesson_step") not in (None, step):
        st.html(f"{look.TO_TOP}<!-- step {step} -->", unsafe_allow_javascript=True)
    st.session_state["lesson_step"] = step
    return step


def go(step: int) -> None:
    st.query_params["step"] = str(step)
    keep("example", None)


def navigation(step: int) -> None:
    """Where we are, and the way on: by button, by number and by arrow keys."""
    with st.container(horizontal=True, vertical_alignment="center", key="lesson_navigation"):
        st.button(
            "Back", key="back", icon=":material/arrow_back:", shortcut="Left", disabled=step == 1,
            on_click=go, args=(max(step - 1, 1),),
        )  # fmt: skip
        st.button(
            "Next", key="forward", icon=":material/arrow_forward:", icon_position="right", shortcut="Right",
            type="primary", disabled=step == len(STEPS), on_click=go, args=(min(step + 1, len(STEPS)),),
        )  # fmt: skip
        number = f"lesson_number_{step}"  # a new widget a step: its value is only where it starts
        st.pagination(len(STEPS), default=step, key=number, on_change=lambda: go(st.session_state[number]))
    st.progress(step / len(STEPS), text=f"Step {step} of {len(STEPS)}")


def casting(told: list[Told]) -> dict[str, Told | None]:
    """The task and the run of each role, chosen by the numbers; the teacher may choose otherwise."""
    tasks = roles.tasks(told)
    with st.sidebar:
        task = choose(
            "Task", "task", {t: t for t in tasks}, tasks[0], widget="segments" if len(tasks) < 4 else "select",
            help="Which behavior the lesson is about. First: the task whose runs show the points best.",
        )  # fmt: skip
        mine = [t for t in told if t.task == task]
        asked = {}
        for role, label in ROLE_NAMES.items():
            found = roles.candidates(mine, role)
            labels = {t.key: t.key + ("" if t.fits(role) else " (does not fit)") for t in [*found, *mine]}
            if labels:
                default = found[0].key if found else ""
                choices = labels if found else {"": "none fits", **labels}
                asked[role] = choose(label, f"{role}_run", choices, default, help=roles.MISSING[role])
        st.caption("Keys: ← and → walk the steps, V reveals, X shows another example.")
        st.button("Wipe this step", key="wipe_step", icon=":material/mop:", on_click=wipe_step)
        st.button("Start over", key="wipe_all", icon=":material/restart_alt:", on_click=start_over)
    return roles.cast(told, task, asked)


def wipe_step() -> None:
    classroom.wipe(f"{st.query_params.get('step', '1')}:")


def start_over() -> None:
    classroom.wipe()
    go(1)


def missing(role: str) -> None:
    """A step whose run is not there."""
    st.info(
        f"This step needs {markdown_escaped(roles.MISSING[role])}. None of the runs here is one: "
        "the other steps go without it.",
        icon=":material/search_off:",
    )
    folders = ", ".join(data.directories())
    st.html(f"<p>Runs were looked for in {escaped(folders)}. <code>coupling samples</code> makes the sample runs.</p>")


main()
