"""Style and keys of all pages: what Streamlit's options do not reach. Fixed text; no data in it.

They stand in the head of the document (`serving.head`).
"""

PAGE_STYLE = """<style>
/* The place of the sidebar, which comes a moment after the page's first frame. A page to sign in has none. */
@media (min-width: 769px) {
  [data-testid=stAppViewContainer]:not(:has([data-testid=stSidebar], [class*=st-key-sign_])) { padding-left: 281px; }
}
/* Pages are wide from the first frame on, not once their script says so. */
[data-testid=stMain] [data-testid=stMainBlockContainer] { max-width: none; }
/* Type of figures has the page's own text colour, in both themes; numbers in coloured cells keep theirs. */
.stPlotlyChart .main-svg :is(.xtick, .ytick, .infolayer, .annotation, .legend, .colorbar) text {
  fill: currentColor !important; }
/* The source of a saved picture; on the page the button Source says it. The only type of this size. */
.stPlotlyChart .annotation-text[style*="font-size: 9px"] { display: none; }
/* Small print in Streamlit's own grey has a contrast of 4.4 to 1. */
[data-testid=stCaptionContainer] { color: inherit !important; opacity: 0.78; }
/* On the light blue of the dark theme, white type has a contrast of 2.3 to 1. */
button[data-testid^=stBaseButton-primary]:not(:disabled), button[data-testid^=stBaseButton-primary]:not(:disabled) *,
[data-testid=stMultiSelectTagsContainer] [data-tag], [data-testid=stMultiSelectTagsContainer] [data-tag] * {
  color: light-dark(#FFFFFF, #15181C) !important; }
</style>"""

HELP_BY_KEY = """<script>
if (!window.helpByKey) {
  window.helpByKey = true;
  const helps = 'button[aria-label^="Help for"]';
  addEventListener('keydown', event => {
    document.querySelectorAll(helps).forEach(button => { button.tabIndex = -1; });  // before Tab moves on
    const at = document.activeElement;
    const types = at?.matches('input:not([type=range], [type=checkbox], [type=radio], [role=combobox]), textarea');
    if (event.key !== '?' || (types && at.value)) return;
    const help = at?.closest('[data-testid=stElementContainer]')?.querySelector(helps);
    if (help) { event.preventDefault(); help.focus(); }
  }, true);
}
</script>"""
"""Help icons stand outside the order of Tab; the key ? on a control opens its help."""
