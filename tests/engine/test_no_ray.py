"""Without the extra ray, or without a cluster, --cluster says how to mend it."""

from __future__ import annotations

import sys

import pytest

from engine.cluster import connected
from engine.config import InputError


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"introspective-coupling\[ray\]"):
        connected("auto")
