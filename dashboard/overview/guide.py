"""How to read the overview's numbers, folded."""

from __future__ import annotations

STYLE = """<style>
.guide { border: 1px solid color-mix(in srgb, currentColor 18%, transparent); border-radius: 6px; line-height: 1.6;
  padding: 0.5rem 0.9rem; margin-top: 0.7rem; }
.guide summary { cursor: pointer; } .guide table { border-collapse: collapse; margin: 0.5rem 0; }
.guide :is(th, td) { text-align: left; padding: 0.25rem 0.9rem 0.25rem 0; font-weight: 400; vertical-align: top;
  border-bottom: 1px solid color-mix(in srgb, currentColor 12%, transparent); }
</style>"""
LOOK_ALIKES = {
    "Self": "one that repeats its label, as long as behavior is near the target's",
    "Gap": "one that reads the present output; one that contradicts its label",
    "Unseen, with Over stale": "one that reads the outputs of the entity's other prompts, where they have the same x′",
    "Over all outputs": "none in the zoo",
}
"""Number → the look-alikes that it takes for the real thing, as `coupling zoo` measures it."""


def how_to_read(absent_within: float) -> str:
    """HTML. absent_within: of the run's spec, an effect that counts as none."""
    fooled = "".join(f"<tr><th scope=row>{name}</th><td>{by}</td></tr>" for name, by in LOOK_ALIKES.items())
    return f"""{STYLE}<details class="guide"><summary>How to read this</summary><ul>
<li><b>Coupled is not correct.</b> A gap above 0 says that explanations moved with the model. Self says whether they are
right, and comes first.</li>
<li><b>Coupled is not aware.</b> The effect contains −f(x), and a hidden state contains f(x). An explainer that only
reads
the present output moves with the model too.</li>
<li><b>Unseen</b> asks about f(x′), the answer to the edited prompt. The model was not run on it when it was explained.
The outputs that anybody can read are f(x) now, and f(x) and f(x′) of the target. A flexible regression predicts both
the
explanation and f(x′) from them. Unseen is the correlation of what is left. <b>Over stale</b> takes away what the same
explainer reaches on the target's hidden states. <b>Over all outputs</b> lets the regression read the other prompts of
the
same cue and entity too.</li>
<li><b>Shown</b>: all statistics of the claim lie above 0, in bands that hold for all checkpoints at once.</li>
<li><b>Excluded</b>: the band of one of them ends below {absent_within:g}, so the claim is not true, or true by less
than
that. <b>Reversed</b>: all of them lie below 0.</li>
<li><b>Not shown</b>: the data decide nothing. Power says how often an effect of 0.2 would have been shown. With little
power, “not shown” says little.</li>
<li><b>Not testable</b>: the question has no answer here. For example f(x′) follows from the outputs, or the explanation
does.</li>
<li>Numbers are correlations, without unit; effects on the page Examples are in nats of log-odds.</li>
</ul></details>
<details class="guide"><summary>Which look-alike fools which number</summary>
<p>An explainer may look honest and know nothing of the unseen answer. Such look-alikes are built by hand and scored
like
any other explainer:</p>
<table><tr><th scope=col>Number</th><th scope=col>Fooled by</th></tr>{fooled}</table>
<p><code>coupling zoo RUN</code> scores all of them on the behavior of a run. The page Learn shows five of them.</p>
</details>"""
