"""The model as its own explainer: fixed labels from behavior, training on them, and what it says at every step.

`labels` makes the labels, `rows` turns them into tokens, `train` fine-tunes, `say` asks, `score` and `controls` judge,
`stage` does all of it for a run.
"""
