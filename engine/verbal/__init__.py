"""The model as its own explainer: fixed labels from behavior, training on them, and its explanations at every step.

`labels` makes the labels, `rows` turns them into tokens, `train` fine-tunes, `say` asks for explanations, `score` and
`controls` evaluate them, `stage` does all of it for a run.
"""
