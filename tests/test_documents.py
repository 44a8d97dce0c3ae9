"""The documents say what is so: the map of folders, the packages that are imported, and tables that commands print."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest
from typer.testing import CliRunner

from engine import ROOT, SAMPLES
from engine.__main__ import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
OWN = {"engine", "dashboard", "pages", "tests"}
TABLES = {
    "README.md": "stress {0}/specs/stress.yml --tables {0}/stress",
    "studies/README.md": "study {0}/specs/verbal.study.yml --out {0}/studies/verbal --done",
}


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 200


def test_the_map_of_folders_is_true():
    listed, parent = set(), ""
    for line in README.split("```")[-2].splitlines()[1:]:
        name, inside = line.split()[0], line.startswith("  ")
        parent = parent if inside else name
        path = parent + name if inside else name
        assert (ROOT / path).exists(), path
        listed.add(path.rstrip("/"))
    for package in ("engine", "dashboard"):
        rooms = {f"{package}/{p.parent.name}" for p in (ROOT / package).glob("*/__init__.py")}
        pages = {f"dashboard/{p.stem}" for p in (ROOT / "pages").glob("*.py")} | {"dashboard/lesson"}
        assert rooms <= listed | pages


def test_links_lead_somewhere():
    documents = [path for path in ROOT.rglob("README.md") if ".venv" not in str(path)]
    for document in documents:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert link.startswith("http") or (document.parent / link).exists(), (document, link)


def test_every_import_is_declared():
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for name in ("peft", "postgresql", "ray") for line in about["optional-dependencies"][name]]
    declared = {re.split(r"[>=<\[]", line)[0].lower().replace("-", "_") for line in about["dependencies"] + extras}
    distributions = packages_distributions()
    for path in [p for folder in ("engine", "dashboard", "pages") for p in (ROOT / folder).rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            else:
                continue
            for name in {n.split(".")[0] for n in names} - OWN - sys.stdlib_module_names:
                given = {d.lower().replace("-", "_") for d in distributions.get(name, [name])}
                assert given & declared, f"{path}: {name} is imported and not declared"


@pytest.mark.parametrize("document", TABLES)
def test_tables_are_what_their_command_prints(document: str):
    done = CliRunner().invoke(app, [word.format(SAMPLES) for word in TABLES[document].split()])
    assert done.exit_code == 0, done.output
    printed = [line for line in done.output.splitlines() if line.startswith("| ")]
    lines = set((SAMPLES / document).read_text(encoding="utf-8").splitlines())
    assert len(printed) > 20
    assert [line for line in printed if line not in lines] == []
