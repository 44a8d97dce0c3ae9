"""The image and the compose file, as far as they can be tested without a container engine.

The scripts `start.sh` and `health.sh` serve the browser's tests of sign-in: tests/browser/test_sign_in.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from dashboard.serving.access import AUDIT_URL
from engine import ROOT

SERVING = ROOT / "dashboard" / "serving"
DOCKERFILE = (SERVING / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((SERVING / "compose.yaml").read_text())


def test_every_step_of_the_image_is_a_script_that_is_there() -> None:
    steps = [line for line in DOCKERFILE.splitlines() if line.startswith(("RUN", "CMD", "HEALTHCHECK"))]
    scripts = {name for step in steps for name in re.findall(r"(\w+\.sh)", step)}
    assert scripts == {path.name for path in SERVING.glob("*.sh")} == {"install.sh", "start.sh", "health.sh"}
    for script in SERVING.glob("*.sh"):
        subprocess.run(["sh", "-n", script], check=True)
    copied = (SERVING / "install.sh").read_text().splitlines()[-1]
    assert all(f"dashboard/serving/{name}" in copied for name in ("start.sh", "health.sh"))


def test_the_image_serves_as_nobody_in_particular() -> None:
    lines = DOCKERFILE.splitlines()
    user = lines.index("USER coupling")
    assert any("useradd --uid 10001" in line for line in lines[:user])
    assert not any(line.startswith(("RUN", "COPY", "ADD", "USER")) for line in lines[user + 1 :])
    assert "EXPOSE 8501" in lines


def test_compose_fits_the_image_and_the_code() -> None:
    services = COMPOSE["services"]
    build = services["dashboard"]["build"]
    assert (SERVING / build["context"]).resolve() == ROOT and (ROOT / build["dockerfile"]).is_file()
    url = services["dashboard"]["environment"][AUDIT_URL]
    audits = services["audits"]["environment"]
    password = audits["POSTGRES_PASSWORD"]
    assert url == f"postgresql://{audits['POSTGRES_USER']}:{password}@audits/{audits['POSTGRES_DB']}"
    assert "ports" not in services["dashboard"] and "ports" not in services["audits"]
    assert services["proxy"]["command"].endswith("--to dashboard:8501")
    mounted = {
        volume.split(":")[-2] if volume.endswith(":ro") else volume.split(":")[-1]
        for volume in services["dashboard"]["volumes"]
    }
    assert mounted == set(re.findall(r"(?:RUNS|SETTINGS)=(\S+)", DOCKERFILE))


def context(folder: Path) -> Path:
    """What `COPY . .` copies, by the rules of .dockerignore that this file uses."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    kept, left_out = (
        [r[1:] for r in rules if r.startswith("!")],
        [r.removeprefix("**/") for r in rules if r.startswith("**/")],
    )
    assert rules[0] == "*" and len(rules) == 1 + len(kept) + len(left_out)

    def ignore(_: str, names: list[str]) -> set[str]:
        return {name for name in names if any(fnmatch(name, rule) for rule in left_out)}

    for name in kept:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    return folder


def test_the_image_is_built_from_all_that_it_needs_and_no_secret(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="no hatchling: pip install -e '.[test]'")
    folder = context(tmp_path / "src")
    assert all((folder / name).is_file() for name in ("constraints.txt", "dashboard/serving/install.sh"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path / "dist")]
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {"engine/__main__.py", "dashboard/app.py", "dashboard/page_scripts/runs.py"} <= names
    assert not any(name.endswith(("secrets.toml", "roles.toml", ".sqlite")) for name in names)
