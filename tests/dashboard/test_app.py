"""The app imports whole packages before any of their modules, so that sessions that start at once do not collide."""

from __future__ import annotations

import re

from engine import ROOT


def test_packages_that_import_their_modules_are_imported_first():
    app = (ROOT / "dashboard" / "app.py").read_text(encoding="utf-8")
    for room in (path.parent for name in ("dashboard", "engine") for path in (ROOT / name).glob("*/__init__.py")):
        package = f"{room.parent.name}.{room.name}"
        imports_own = re.search(
            rf"^from {package}[. ]", (room / "__init__.py").read_text(encoding="utf-8"), re.MULTILINE
        )
        assert bool(imports_own) == (f'"{package}"' in app), package
