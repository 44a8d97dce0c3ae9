"""Without the extra ray, or without a cluster, --cluster says how to mend it."""

from __future__ import annotations

import sys

import pytest

from engine.config import InputError
from engine.workers.cluster import connected


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"introspective-coupling\[ray\]"):
        connected("auto")
