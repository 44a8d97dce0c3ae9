"""The lesson for a class: eight steps from what a counterfactual is to what may be said."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import streamlit as st

from dashboard.lesson import classroom, look, roles, steps, zoo
from dashboard.lesson.recap import recap
from dashboard.lesson.roles import ROLES, LessonRun
from dashboard.reading import data
from dashboard.reading.tables import blamed
from dashboard.selection.state import no_runs, problem
from dashboard.text import markdown_escaped
from dashboard.widgets.figures import choose, keep
from engine.runs.store import RunError

# Title, role of the run that tells it, and what draws it; the last step needs the runs of all roles.
STEPS: tuple[tuple[str, str, Callable[[LessonRun], None] | None], ...] = (
    ("What is a counterfactual?", "story", steps.counterfactual),
    ("What does an explainer learn?", "story", steps.explainer),
    ("Behavior drifts", "story", steps.drift),
    ("Whom does the explanation follow?", "story", steps.follow),
    ("A known null: nothing to report", "null", steps.null),
    ("A known positive: a gap from the output alone", "lookalike", steps.lookalike),
    ("Five explainers: which one is honest?", "story", zoo.which),
    ("What may be said", "story", None),
)

WIPES = "Forgets the predictions and the hands of this step."


def main() -> None:
    st.html(look.STYLE)
    step = current_step()
    title, role, draw = STEPS[step - 1]
    st.title(f"{step}. {title}", anchor=False)
    navigation(step)
    look.full_screen()
    runs, problems = roles.lesson_runs()
    if not runs:
        for line in problems:
            problem(line)
        no_runs()
        return
    by_role = choose_runs(runs)
    run = by_role[role]
    if run is None:
        missing(role)
        return
    try:
        with ExitStack() as each:
            for shown in {run, *((by_role["null"], by_role["lookalike"]) if draw is None else ())} - {None}:
                each.enter_context(blamed(shown.path))
            if draw is None:
                recap(run, by_role["null"], by_role["lookalike"])
            else:
                draw(run)
    except RunError as error:
        problem(str(error))


def current_step() -> int:
    """The step that the address names, else the first; a new step starts at the top of the page."""
    given = st.query_params.get("step", "1")
    step = int(given) if given in {str(i) for i in range(1, len(STEPS) + 1)} else 1
    if given != str(step):
        line = f"The link does not fit: there is no step {markdown_escaped(given[:40])}."
        st.warning(line, icon=":material/link_off:")
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
    back = {"icon": ":material/arrow_back:", "shortcut": "Left", "disabled": step == 1}
    forward = {"icon": ":material/arrow_forward:", "icon_position": "right", "shortcut": "Right", "type": "primary"}
    forward |= {"disabled": step == len(STEPS)}
    with st.container(horizontal=True, vertical_alignment="center", key="lesson_navigation"):
        st.button("Back", key="back", on_click=go, args=(step - 1,), **back)
        st.button("Next", key="forward", on_click=go, args=(step + 1,), **forward)
        number = f"lesson_number_{step}"  # a widget for each step: its value is only where it starts
        st.pagination(len(STEPS), default=step, key=number, on_change=lambda: go(st.session_state[number]))
    st.progress(step / len(STEPS), text=f"Step {step} of {len(STEPS)}")


def story_of_link(runs: list[LessonRun]) -> None:
    """`?run=` names the run of the story, as it names the run of any other page."""
    key = st.query_params.pop("run", None)
    asked = next((run for run in runs if run.key == key), None)
    if asked is not None:
        keep("task", asked.entry.task)
        keep("story_run", asked.key)
    elif key is not None:
        line = f"The run {markdown_escaped(key[:80])} cannot tell this lesson, which needs a probe. Another one does."
        st.info(line, icon=":material/info:")


def choose_runs(runs: list[LessonRun]) -> dict[str, LessonRun | None]:
    """The task, and the run of each role: the numbers choose, and the teacher may choose otherwise."""
    story_of_link(runs)
    tasks, by_role = roles.tasks(runs), {}
    with st.sidebar:
        widget = "segments" if len(tasks) < 4 else "select"
        help_line = "The behavior that the lesson is about. The task whose runs show the points best comes first."
        task = choose("Task", "task", {t: t for t in tasks}, tasks[0], widget=widget, help=help_line)
        mine = {run.key: run for run in runs if run.entry.task == task}
        for name, role in ROLES.items():
            found = roles.candidates(list(mine.values()), name)
            choices = {} if found else {"": "none fits"}
            choices |= {r.key: r.key + ("" if r.fits(name) else " (does not fit)") for r in [*found, *mine.values()]}
            help_line = f"A run in which {role.needs}."
            key = choose(f"Run of the {role.name}", f"{name}_run", choices, next(iter(choices)), help=help_line)
            by_role[name] = mine.get(key)
        st.caption("Keys: ← and → walk the steps, V reveals, X shows another example, F fills the screen.")
        step = f"{st.query_params['step']}:"
        st.button(
            "Wipe this step", key="wipe_step", icon=":material/mop:", on_click=classroom.wipe, args=(step,), help=WIPES
        )
        about = "Forgets all predictions and hands, and goes to step 1."
        st.button("Start over", key="wipe_all", icon=":material/restart_alt:", on_click=start_over, help=about)
    return by_role


def start_over() -> None:
    classroom.wipe()
    go(1)


def missing(role: str) -> None:
    """A step whose run is not there."""
    needs, folders = (markdown_escaped(text) for text in (ROLES[role].needs, ", ".join(data.directories())))
    line = f"This step needs a run in which {needs}. There is none in {folders}: the other steps go without it."
    st.info(f"{line} `coupling samples` makes the sample runs.", icon=":material/search_off:")


main()
