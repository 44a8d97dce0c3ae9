"""The line of a run in the list: the primary hypothesis at the last checkpoint."""

import pandas as pd

from dashboard.runs.scores import headline


def table(**columns: list) -> pd.DataFrame:
    shared = {"explainer": ["ridge", "ridge", "mlp"], "regime": ["frozen"] * 3, "step": [0, 100, 200]}
    return pd.DataFrame(shared | {"chosen": [True] * 3, "split": ["test_heldout"] * 3} | columns)


def test_the_primary_hypothesis_at_its_last_checkpoint_stands_in_the_list() -> None:
    found = headline(table(primary=[None, True, False], self=[0.1, 0.2, 0.3]))
    assert found is not None and found["self"] == 0.2
    found = headline(table(primary=[None, None, True], self=[0.1, 0.2, 0.3]))
    assert found is not None and found["self"] == 0.3


def test_without_a_primary_one_the_first_explainer_does_not_mix_with_others() -> None:
    found = headline(table(self=[0.1, 0.2, 0.3]))
    assert found is not None and (found["explainer"], found["self"]) == ("ridge", 0.2)


def test_a_run_without_scores_has_none() -> None:
    assert headline(table(self=[0.1, 0.2, 0.3], split=["validation"] * 3)) is None
