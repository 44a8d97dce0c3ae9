"""How the lesson looks on a wall, with and without the sidebar, and the script that begins each step at its top. Fixed
texts; no data in them."""

import streamlit as st

from dashboard.widgets.figures import chosen, keep

STYLE = """<style>
[data-testid=stMain] :is(p, li, label, summary, button) { font-size: 21px; line-height: 1.5; }
[data-testid=stMain] :is(label, summary, button) p { font-size: 20px; }
[data-testid=stMain] [data-testid=stSliderThumbValue], [data-testid=stMain] [data-testid=stSliderTickBar] * {
  font-size: 20px; }
[data-testid=stMain] input { font-size: 20px; }
[data-testid=stMain] .stHtml p { margin: 0 0 0.5rem; max-width: 62rem; }
[data-testid=stMain] .wall .prompt { font-size: 25px; line-height: 1.6; border-left: 5px solid #808890;
  padding-left: 1rem; }
[data-testid=stMain] p.question { font-size: 24px; font-weight: 650; margin-top: 0.8rem; }
.reveal { border: 2px solid #808890; border-radius: 8px; padding: 0.7rem 1rem 0.3rem; max-width: 64rem; }
.reveal.expected { border-left: 10px solid #3B7DD8; }
.reveal.other { border-left: 10px double #D55E00; }
[data-testid=stMain] .reveal p.sign { font-size: 18px; opacity: 0.8; }
[data-testid=stMain] p.headline { font-size: 28px; font-weight: 700; line-height: 1.25; }
[data-testid=stMain] .js-plotly-plot .main-svg text { fill: currentColor !important; }
[data-testid=stMain] .recap li { margin-bottom: 0.4rem; }
[data-testid=stMain] .zoo { display: block; overflow-x: auto; font-size: 21px; border-collapse: collapse;
  font-variant-numeric: tabular-nums; }
.zoo :is(th, td) { padding: 0.25rem 1.2rem 0.25rem 0; text-align: left; border-bottom: 1px solid #808890;
  white-space: nowrap; }
@media (max-width: 640px) {
  [data-testid=stMain] .zoo { font-size: 14px; }
  .zoo :is(th, td) { padding-right: 0.4rem; white-space: normal; }
}
[data-testid=stMain] .where p { font-size: 20px; margin: 0; }
</style>"""

FULL = """<style>
[data-testid=stSidebar], [data-testid=stHeader], [data-testid=stExpandSidebarButton] { display: none; }
[data-testid=stMainBlockContainer] { max-width: 100%; padding-top: 1rem; }
</style>"""
"""The lesson alone, without the sidebar and the bar above."""
FILL = "<script>document.documentElement.requestFullscreen?.().catch(() => {})</script>"
LEAVE = "<script>if (document.fullscreenElement) document.exitFullscreen().catch(() => {})</script>"
"""A browser fills the screen, or leaves it, only just after a click or a key."""
TO_REVEAL = "<script>document.querySelector('.reveal')?.scrollIntoView({ block: 'center' })</script>"
TO_TOP = "<script>document.querySelector('[data-testid=stMain]')?.scrollTo(0, 0)</script>"


def full_screen() -> None:
    """A switch for the lesson alone, without the sidebar; kept in the URL."""
    full = chosen("full", ("1",), "") == "1"

    def turn() -> None:
        keep("full", None if full else "1")
        st.session_state["lesson_turned"] = True

    if full:
        st.html(FULL)
    label, icon = ("Leave full screen", "close_fullscreen") if full else ("Full screen", "open_in_full")
    st.button(label, key="full", icon=f":material/{icon}:", shortcut="f", type="tertiary", on_click=turn, help="Key: F")
    if st.session_state.pop("lesson_turned", False):
        st.html(FILL if full else LEAVE, unsafe_allow_javascript=True)
