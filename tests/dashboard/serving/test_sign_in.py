"""What has to be set up before a dashboard serves others. The sign-in itself: tests/browser/test_sign_in.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dashboard.serving.sign_in import checked, is_loopback, read_secrets
from engine import ROOT, child_environment
from engine.__main__ import app
from engine.config import InputError
from engine.serve import free_port
from tests.oidc import secrets_file

ISSUER, REDIRECT = "https://accounts.example.org", "https://coupling.example.org/oauth2callback"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A secrets file and a file of roles that are in order."""
    secrets, roles = tmp_path / "secrets.toml", tmp_path / "roles.toml"
    secrets.write_text(secrets_file(ISSUER, REDIRECT))
    roles.write_text('default = "viewer"')
    return secrets, roles


def test_what_is_in_order(files: tuple[Path, Path]) -> None:
    for address in ("0.0.0.0", "127.0.0.1", "192.0.2.7"):
        found = checked(address, *files)
        assert found and (found.origin, found.host) == ("https://coupling.example.org", "coupling.example.org")
        assert found.providers == ("default",)
    assert checked("127.0.0.1", None, None) is None


def test_several_providers(files: tuple[Path, Path]) -> None:
    secrets, _ = files
    lines = secrets.read_text().splitlines()
    own = [line for line in lines if line.startswith(("client", "server"))]
    shared = [line for line in lines if line not in own]
    secrets.write_text("\n".join([*shared, "[auth.one]", *own, "[auth.two]", *own]))
    assert read_secrets(secrets).providers == ("one", "two")
    secrets.write_text("\n".join([*shared, "[auth.one]", *own[1:]]))
    with pytest.raises(InputError, match=r"\[auth.one\] lacks client_id"):
        read_secrets(secrets)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[auth]", "[other]", "no table"),
        ("client_secret", "client_sekret", "lacks client_secret"),
        ("cccccccccccccccccccc", '" # ', "at least 32 random characters"),
        (REDIRECT, "http://coupling.example.org/oauth2callback", "give https://NAME/oauth2callback"),
        (REDIRECT, "https://coupling.example.org/", "give https://NAME/oauth2callback"),
        (ISSUER, "http://accounts.example.org", "does not begin with https"),
        ('"', "", "not valid TOML"),
    ],
)
def test_what_is_wrong_is_said_without_a_secret(files: tuple[Path, Path], old: str, new: str, said: str) -> None:
    secrets, _ = files
    text = secrets.read_text()
    values = [line.split('"')[1] for line in text.splitlines() if line.startswith(("cookie", "client_secret"))]
    secrets.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=said) as raised:
        checked("0.0.0.0", *files)
    assert not any(value in str(raised.value) for value in values)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Set up sign-in"),
        (["--secrets", "secrets.toml"], "give --roles, too"),
        (["--roles", "roles.toml"], "give --secrets, too"),
        (["--secrets", "absent.toml", "--roles", "roles.toml"], "absent.toml"),
        (["--secrets", "secrets.toml", "--roles", "absent.toml"], "absent.toml"),
    ],
)
def test_without_sign_in_no_other_address_is_served(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.chdir(files[0].parent)
    done = CliRunner().invoke(app, ["dashboard", ".", "--address", "0.0.0.0", *options])
    assert isinstance(done.exception, InputError) and said in str(done.exception)  # `main` makes it exit code 2


def test_started_by_hand_the_server_refuses_as_well(tmp_path: Path) -> None:
    port = free_port(33_000)
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    command += ["--server.address", "0.0.0.0"]
    environment = child_environment(COUPLING_RUNS=str(tmp_path), HOME=str(tmp_path))
    environment.pop("COUPLING_ROLES", None)
    done = subprocess.run(
        command, cwd=ROOT / "dashboard", env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 2 and "Set up sign-in" in done.stderr, done.stderr


def test_the_command_says_it_in_a_line_with_exit_code_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "engine", "dashboard", str(tmp_path), "--address", "0.0.0.0"]
    done = subprocess.run(
        command, env=os.environ | child_environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("coupling: --address 0.0.0.0: only 127.0.0.1 is served without sign-in")


def test_which_addresses_are_this_machines_own() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.1.2.3", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.1.4", "localhost.example.org", "", None)))
