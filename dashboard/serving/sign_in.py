"""Sign-in by OpenID Connect (Streamlit's): what it needs before the server starts, and what stands before every page.

Who the person is and what they may do decides `access`. The secrets file is Streamlit's: a table [auth] with
redirect_uri, cookie_secret, client_id, client_secret and server_metadata_url, or the last three in [auth.NAME] for each
of several providers. No message here repeats a value of that file, except the redirect address.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.web.server.starlette import starlette_auth_routes
from streamlit.web.server.starlette.starlette_server_config import USER_COOKIE_NAME

from dashboard.serving import access
from dashboard.serving.access import NOBODY, Person, read_roles
from dashboard.text import markdown_escaped
from engine.config import InputError

CALLBACK = "/oauth2callback"
"""Where Streamlit takes the provider's answer."""
SHORTEST_SECRET = 32
PROVIDER = ("client_id", "client_secret", "server_metadata_url")
SET_UP = (
    "only 127.0.0.1 is served without sign-in. Set up sign-in with an OpenID Connect provider: give --secrets "
    "SECRETS.toml and --roles ROLES.toml (dashboard/serving/README.md), or leave --address out"
)


@dataclass(frozen=True)
class SignIn:
    """The one origin by which people open a dashboard with sign-in, and the names of its providers."""

    origin: str
    """`https://HOST[:PORT]`, in lower case."""
    providers: tuple[str, ...]

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""


def is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def checked(address: str | None, secrets: Path | None, roles: Path | None) -> SignIn | None:
    """How people sign in; None: one person at this machine, without sign-in. address: where the server listens.

    Raises InputError where the address is not this machine's own and sign-in is not set up, or is set up wrongly.
    """
    if secrets is None and roles is None:
        if is_loopback(address):
            return None
        raise InputError(f"--address {address}: {SET_UP}")
    if secrets is None or roles is None:
        raise InputError(f"sign-in needs both files: give {'--roles' if secrets else '--secrets'}, too")
    if any(importlib.util.find_spec(name) is None for name in ("authlib", "httpx2")):
        raise InputError("sign-in needs Authlib: pip install 'introspective-coupling[signin]'")
    read_roles(roles)
    return read_secrets(secrets)


def read_secrets(path: Path) -> SignIn:
    """Raises InputError, one line, where the file can't be read or lacks what sign-in needs."""
    try:
        auth = tomllib.loads(path.read_text(encoding="utf-8")).get("auth")
    except (OSError, ValueError) as error:  # a message of tomllib may quote the file
        reason = error.strerror if isinstance(error, OSError) else "not valid TOML"
        raise InputError(f"{path}: the secrets can't be read: {reason}") from None
    if not isinstance(auth, dict):
        raise InputError(f"{path}: there is no table [auth]: add it")
    named = {name: table for name, table in auth.items() if isinstance(table, dict) and name != "client_kwargs"}
    providers = named or {"default": auth}
    if bad := next((name for name in named if not name.isalnum()), None):
        raise InputError(f"{path}: [auth.{bad}]: use letters and digits in a provider's name")
    for name, table in providers.items():
        where = f"[auth.{name}]" if named else "[auth]"
        if missing := next((key for key in PROVIDER if not _text(table, key)), None):
            raise InputError(f"{path}: {where} lacks {missing}: add it as the provider gives it")
        metadata = urlsplit(_text(table, "server_metadata_url"))
        if metadata.scheme != "https" and not is_loopback(metadata.hostname):
            raise InputError(f"{path}: {where} server_metadata_url does not begin with https://")
    if len(_text(auth, "cookie_secret")) < SHORTEST_SECRET:
        about = "python -c 'import secrets; print(secrets.token_hex())' makes one"
        raise InputError(f"{path}: [auth] cookie_secret: give at least {SHORTEST_SECRET} random characters; {about}")
    return SignIn(_origin(path, _text(auth, "redirect_uri")), tuple(providers))


def _text(table: Mapping[str, Any], key: str) -> str:
    return value if isinstance(value := table.get(key), str) else ""


def _origin(path: Path, redirect: str) -> str:
    address = urlsplit(redirect)
    secure = address.scheme == "https" or (address.scheme == "http" and is_loopback(address.hostname))
    if not secure or not address.hostname or address.path != CALLBACK or address.username or address.query:
        wanted = f"https://NAME{CALLBACK}, with the name by which people open the dashboard"
        raise InputError(f"{path}: [auth] redirect_uri is {redirect!r}: give {wanted}")
    return f"{address.scheme}://{address.netloc}".lower()


def of_this_server() -> SignIn | None:
    """The sign-in of the server that imports this, from Streamlit's options; raises as `checked`."""
    roles = os.environ.get(access.ROLES)
    files = [Path(file) for file in st.get_option("secrets.files") if Path(file).is_file()]
    secrets = (files[-1] if files else Path("secrets.toml")) if roles else None
    return checked(st.get_option("server.address"), secrets, Path(roles) if roles else None)


class SignedInOnly:
    """Answers requests for files of the pages, and uploads, only to those who are signed in and may have them.

    Pages themselves come by the websocket, where `gate` stands before them.
    """

    OPEN = ("/_stcore/health", "/_stcore/host-config", "/_stcore/allowed-message-origins")
    CLOSED = ("/_stcore/", "/media/", "/component/", "/app/static/")

    def __init__(self, app: ASGIApp, sign_in: SignIn) -> None:
        self.app, self.sign_in = app, sign_in

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app, path = self.app, scope.get("path", "")
        if scope["type"] == "http" and path.startswith(self.CLOSED) and path not in self.OPEN:
            right: access.Right = "change" if path.startswith("/_stcore/upload_file") else "read"
            if not self.asking(Request(scope)).may(right):
                app = PlainTextResponse("Sign in first, with a role that may do this.\n", status_code=403)
        await app(scope, receive, send)

    def asking(self, request: Request) -> Person:
        """Who makes the request, by the cookie that Streamlit signed for the session."""
        cookie = starlette_auth_routes._get_cookie_value_from_request(request, USER_COOKIE_NAME)
        claims = json.loads(cookie) if cookie else {}
        if claims.get("origin") != self.sign_in.origin:
            return NOBODY
        return access.known(claims, read_roles(Path(os.environ[access.ROLES])))


def gate() -> bool:
    """Draw who is signed in, or how to sign in; whether this person may see the pages. Without sign-in: yes."""
    if not os.environ.get(access.ROLES):
        return True
    try:
        asking = access.person()
    except InputError:  # the file of roles was changed a moment ago; what is in it is not for readers
        asking = Person("", None, "The server's file of roles can't be read: tell whoever runs this server.")
    if asking.may("read"):
        with st.sidebar.container(horizontal=True, vertical_alignment="center", key="signed_in"):
            st.text(f"{asking.email} · {asking.role}")
            st.button("Sign out", icon=":material/logout:", key="sign_out", on_click=st.logout)
        return True
    st.title("Introspective Coupling", anchor=False)
    if st.user.is_logged_in:
        st.info(markdown_escaped(f"{asking.why} Whoever runs this server gives roles."), icon=":material/lock:")
        st.button("Sign out", icon=":material/logout:", key="sign_out", on_click=st.logout)
        if asking.email:
            return False
    else:
        st.write("This server is shared. Sign in to see its runs. If a link led you here, open it again afterwards.")
    for name in read_secrets(Path(st.get_option("secrets.files")[-1])).providers:
        label = "Sign in" if name == "default" else f"Sign in with {name}"
        look = {"type": "primary", "icon": ":material/login:", "key": f"sign_in_{name}"}
        st.button(label, on_click=st.login, args=(None if name == "default" else name,), **look)
    return False
