"""Things that no checkpoint has met: made-up words in the sentences of a built-in task.

They are taught as behavior alone, and no explanation label speaks of them (after the paper's "Jabberwocky" test).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.tasks.factors import Entity, Factors

NOUNS = "tove rath borogove snark jubjub wabe bandersnatch boojum".split()
VERBS = "gimble gyre outgrabe whiffle burble galumph".split()


def with_unknown(factors: Factors, patterns: Sequence[str]) -> Factors:
    """The factors with one made-up thing a verb in every topic, after the known ones; half of them with label True."""
    made_up = tuple(
        Entity(patterns[i % len(patterns)].format(noun=NOUNS[topic % len(NOUNS)], verb=verb), topic, i % 2 == 0)
        for topic in range(len(factors.topics))
        for i, verb in enumerate(VERBS)
    )
    return replace(factors, entities=(*factors.entities, *made_up))
