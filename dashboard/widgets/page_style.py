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
.stPlotlyChart .main-svg
  :is(.bartext, :is(.xtick, .ytick, .infolayer, .annotation, .legend, .colorbar, .textpoint) text):not(.hoverlayer *) {
  fill: currentColor !important; }
/* The source of a saved picture; on the page the button Source says it. The only type of this size. */
.stPlotlyChart .annotation-text[style*="font-size: 9px"] { display: none; }
/* Source and table of a figure are icons; their names are for screen readers, and tooltips say the same. */
[data-testid=stPopoverButton][kind=tertiary] [data-testid=stMarkdownContainer] { position: absolute; width: 1px;
  height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
/* What has the focus has a ring in a colour that nothing selected has. */
:is(a, button, summary, input[type=range], [role=radio], [role=tab], [role=slider]):focus-visible,
label:has(input:is([type=radio], [type=checkbox]):focus-visible) {
  outline: 3px solid light-dark(#8F5200, #FFC04D) !important; outline-offset: 2px; border-radius: 4px; }
/* The height of the links, which come a moment after the rest of the sidebar. */
.st-key-pages { min-height: 479px; }
.st-key-pages h2 { margin: 0.5rem 0 0.15rem; padding: 0; font-size: 0.88rem; font-weight: 400; opacity: 0.78; }
.st-key-pages p { margin: 0.5rem 0 0; font-size: 0.88rem; opacity: 0.78; }
.st-key-pages a { display: flex; align-items: center; gap: 0.5rem; min-height: 27px; padding: 0 0.5rem; color: inherit;
  border-radius: 6px; text-decoration: none; }
.st-key-pages a:hover { background: color-mix(in srgb, currentColor 8%, transparent); }
.st-key-pages a[aria-current] { background: color-mix(in srgb, currentColor 12%, transparent); font-weight: 600; }
.st-key-pages .icon { width: 1.2rem; overflow: hidden; font: 400 1.15rem/1 "Material Symbols Rounded"; }
abbr[title] { text-decoration: underline dotted; cursor: help; }
/* Small print in Streamlit's own grey has a contrast of 4.4 to 1. */
[data-testid=stCaptionContainer] { color: inherit !important; opacity: 0.78 !important; }
/* On the light blue of the dark theme, white type has a contrast of 2.3 to 1. */
button[data-testid^=stBaseButton-primary]:not(:disabled), button[data-testid^=stBaseButton-primary]:not(:disabled) *,
[data-testid=stMultiSelectTagsContainer] [data-tag], [data-testid=stMultiSelectTagsContainer] [data-tag] * {
  color: light-dark(#FFFFFF, #15181C) !important; }
</style>"""

SCRIPT = """<script>
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
  // A click on a link of the sidebar is a step in the history, as Streamlit's own are: the document stays.
  addEventListener('click', event => {
    const link = event.target.closest?.('.st-key-pages a');
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    // On a phone the sidebar covers the page that its link leads to.
    if (innerWidth < 768) document.querySelector('[data-testid=stSidebarCollapseButton] button')?.click();
    history.pushState(null, '', link.href);
    dispatchEvent(new PopStateEvent('popstate'));
  });
  // A page may write its address more than once for one act of the reader: Back has to undo the act, so they are one.
  let acted = false;
  for (const kind of ['pointerdown', 'keydown']) addEventListener(kind, () => { acted = true; }, true);
  const push = history.pushState.bind(history), replace = history.replaceState.bind(history);
  history.pushState = (...entry) => { (acted ? push : replace)(...entry); acted = false; };
}
</script>"""
"""Help icons stand outside the order of Tab; the key ? on a control opens its help. One act makes one step of Back."""
