"""A small OpenID Connect provider: discovery, authorization code with PKCE, signed identity tokens, end of session.

It checks what a provider has to check (client, redirect address, code, verifier), and signs with a key of its own. Its
page asks who you are, with a link for each person: there are no passwords.
"""

from __future__ import annotations

import base64
import hashlib
import html
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwt
from joserfc.jwk import RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from engine.serve import free_port

CLIENT, SECRET = "coupling-test", "the-secret-of-the-client-is-never-shown"


class Provider:
    """claims: name of a link on the provider's page → what it says of that person."""

    def __init__(self, issuer: str, redirect: str, claims: Mapping[str, Mapping[str, Any]]) -> None:
        self.issuer, self.redirect, self.claims = issuer, redirect, claims
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one"})
        self.codes: dict[str, dict[str, str]] = {}
        self.signed: list[str] = []
        """Every identity token that it gave out."""

    def app(self) -> Starlette:
        routes = [
            Route("/.well-known/openid-configuration", self.metadata),
            Route("/jwks", lambda request: JSONResponse({"keys": [self.key.as_dict(private=False)]})),
            Route("/authorize", self.ask),
            Route("/as/{who}", self.answer),
            Route("/token", self.token, methods=["POST"]),
            Route("/end", lambda request: RedirectResponse(request.query_params["post_logout_redirect_uri"])),
        ]
        return Starlette(routes=routes)

    def metadata(self, request: Request) -> Response:
        endpoints = {"authorization": "authorize", "token": "token", "end_session": "end"}
        about: dict[str, Any] = {f"{name}_endpoint": f"{self.issuer}/{path}" for name, path in endpoints.items()}
        about |= {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks", "response_types_supported": ["code"]}
        about |= {"code_challenge_methods_supported": ["S256"], "id_token_signing_alg_values_supported": ["RS256"]}
        return JSONResponse(about)

    def ask(self, request: Request) -> Response:
        asked = request.query_params
        if (asked["client_id"], asked["redirect_uri"]) != (CLIENT, self.redirect):
            return PlainTextResponse("unknown client or redirect address", 400)
        if asked.get("code_challenge_method") != "S256" or not asked.get("nonce") or not asked.get("state"):
            return PlainTextResponse("no challenge, nonce or state", 400)
        links = (f'<p><a href="/as/{who}?{html.escape(str(asked))}">{who}</a></p>' for who in self.claims)
        return HTMLResponse("<h1>Who are you?</h1>" + "".join(links))

    def answer(self, request: Request) -> Response:
        code = secrets.token_urlsafe()
        self.codes[code] = dict(request.query_params) | {"who": request.path_params["who"]}
        given = {"code": code, "state": request.query_params["state"]}
        return RedirectResponse(f"{self.redirect}?{urlencode(given)}")

    async def token(self, request: Request) -> Response:
        form = await request.form()
        asked = self.codes.pop(str(form["code"]), None)
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        digest = hashlib.sha256(str(form.get("code_verifier", "")).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or request.headers.get("authorization") != f"Basic {basic}":
            return JSONResponse({"error": "invalid_client"}, 401)
        if challenge != asked["code_challenge"] or form["redirect_uri"] != self.redirect:
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "sub": asked["who"], "iat": now, "exp": now + 600}
        claims |= {"nonce": asked["nonce"]} | dict(self.claims[asked["who"]])
        signed = jwt.encode({"alg": "RS256", "kid": "one"}, claims, self.key)
        self.signed.append(signed)
        return JSONResponse({"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "id_token": signed})


@contextmanager
def provider(redirect: str, claims: Mapping[str, Mapping[str, Any]]) -> Iterator[Provider]:
    """A provider on a free port of this machine, for the client CLIENT with that redirect address."""
    port = free_port(31_000)
    served = Provider(f"http://127.0.0.1:{port}", redirect, claims)
    server = uvicorn.Server(uvicorn.Config(served.app(), port=port, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.02)
        yield served
    finally:
        server.should_exit = True
        thread.join()


def secrets_file(issuer: str, redirect: str) -> str:
    """The text of a secrets file for this provider."""
    values = {
        "redirect_uri": redirect,
        "cookie_secret": "c" * 20 + secrets.token_hex(),
        "client_id": CLIENT,
        "client_secret": SECRET,
        "server_metadata_url": f"{issuer}/.well-known/openid-configuration",
    }
    return "[auth]\n" + "".join(f'{key} = "{value}"\n' for key, value in values.items())
