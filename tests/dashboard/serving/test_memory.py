"""What imports have made is taken out of garbage collection, once for each time that something is imported."""

from __future__ import annotations

import gc
import sys
from types import ModuleType

import pytest

from dashboard.serving import memory


def test_objects_are_frozen_only_after_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_modules", 0)
    gc.unfreeze()
    try:
        memory.freeze_modules()
        first = gc.get_freeze_count()
        kept = [[] for _ in range(100)]
        memory.freeze_modules()
        assert first > 1000 and gc.get_freeze_count() <= first, "nothing was imported"
        monkeypatch.setitem(sys.modules, "a_new_one", ModuleType("a_new_one"))
        memory.freeze_modules()
        assert gc.get_freeze_count() >= first and len(kept) == 100
        assert not any(one is kept[0] for one in gc.get_objects())
    finally:
        gc.unfreeze()
