"""A wheel and an sdist are built, and an installed copy works away from the repository."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

import pytest
import yaml

from engine import ROOT, SAMPLES, child_environment
from tests.tiny_run import write_spec

LARGEST_WHEEL = 15_000_000
EVERY_PAGE = """
import sys
from pathlib import Path
import dashboard, engine
from streamlit.testing.v1 import AppTest

home = Path(sys.prefix).resolve()
assert home in Path(engine.__file__).resolve().parents and home in Path(dashboard.__file__).resolve().parents
assert (dashboard.HERE / "icon.svg").is_file() and (dashboard.HERE / ".streamlit" / "config.toml").is_file()
pages = sorted(dashboard.PAGES.glob("*.py"))
app = AppTest.from_file(str(dashboard.HERE / "app.py"), default_timeout=300).run()
assert not app.exception, app.exception
for page in pages:
    app.switch_page(str(page)).run()
    assert not app.exception, (page.name, app.exception)
    assert app.title, page.name
print(len(pages), "pages")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return out


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a fresh environment with the wheel in it. The dependencies come from this environment: a
    plain path in a .pth file adds them, and leaves out the editable copy that stands beside them."""
    home = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(home)
    (wheel,) = built.glob("*.whl")
    command = [sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install"]
    command += ["--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(command, check=True, env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    site = home / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def outside() -> dict[str, str]:
    """The environment without any variable that leads to the repository."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COUPLING"))}


def answer(address: str) -> bytes:
    """What a server says once it has started."""
    deadline = time.monotonic() + 180
    while True:
        try:
            return urllib.request.urlopen(address, timeout=30).read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def call(command: list, folder: Path) -> str:
    """What a command prints, run in a folder outside the repository."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=outside())
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_the_wheel_is_small_and_the_sdist_holds_the_sources(built: Path):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.stat().st_size < LARGEST_WHEEL
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "pages/overview.py", "tests/conftest.py"} <= names


def test_help_and_a_run_from_another_folder(installed: Path, tmp_path: Path):
    assert "dashboard" in call([installed / "coupling", "--help"], tmp_path)
    spec = write_spec(tmp_path)
    call([installed / "coupling", "run", spec, "--quiet"], tmp_path)
    assert "sound" in call([installed / "coupling", "verify", tmp_path / "runs" / "tiny"], tmp_path)


@pytest.fixture
def short_demo(installed: Path) -> None:
    """Let the demo be made of a tenth of its prompts."""
    (spec,) = installed.parent.rglob("sample_runs/specs/demo.yaml")
    content = yaml.safe_load(spec.read_text())
    assert content == yaml.safe_load((SAMPLES / "specs" / "demo.yaml").read_text())
    content["task"]["prompts"] = {split: n // 10 for split, n in content["task"]["prompts"].items()}
    spec.write_text(yaml.safe_dump(content | {"metrics": {"bootstrap": 200, "verdict_draws": 200}}))


@pytest.mark.usefixtures("short_demo")
def test_the_demo_is_made_and_served_and_every_page_is_drawn(installed: Path, tmp_path: Path):
    with subprocess.Popen(
        [installed / "coupling", "demo"], cwd=tmp_path, env=outside(), stdout=subprocess.PIPE, text=True
    ) as demo:
        try:
            printed = next(line for line in demo.stdout if line.startswith("Dashboard:"))
            address = printed.split()[1].partition("/?")[0]
            assert answer(f"{address}/_stcore/health") == b"ok"
            with urllib.request.urlopen(address, timeout=180) as page:
                assert page.headers["Content-Security-Policy"] == "frame-ancestors 'none'", "the guard is installed too"
            with pytest.raises(urllib.error.HTTPError, match="400"):
                urllib.request.urlopen(urllib.request.Request(address, headers={"Host": "evil.example"}), timeout=180)
        finally:
            demo.terminate()
    pages = len(list((ROOT / "pages").glob("*.py")))
    assert f"{pages} pages" in call([installed / "python", "-c", EVERY_PAGE], tmp_path)


def test_child_processes_import_the_copy_that_started_them(tmp_path: Path):
    decoy = tmp_path / "elsewhere" / "engine"
    decoy.mkdir(parents=True)
    (decoy / "__init__.py").write_text("raise RuntimeError('the wrong copy')")
    code = "import engine; print(engine.ROOT)"
    environment = child_environment()
    environment["PYTHONPATH"] += os.pathsep + str(decoy.parent)
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=decoy.parent, env=environment, capture_output=True)
    assert done.stdout.decode().strip() == str(ROOT), done.stderr.decode()
