"""Who is here and what they may do. This module decides; every function that writes, deletes or spends asks it.

Without sign-in the dashboard serves one person at their own machine, who has all rights. With sign-in
(`sign_in`, beside this file) the provider says who somebody is, and the file of roles says what they may do. The file
is read at every question, so a role that is taken away is gone at once. Imports Streamlit only where sign-in is on.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from engine.config import InputError, Strict
from engine.spec_files import parse_spec

ROLES = "COUPLING_ROLES"
"""Environment variable of a server with sign-in: the path of its file of roles. Set by `coupling dashboard`."""
AUDIT_URL = "COUPLING_AUDIT_URL"
"""Environment variable: where audits are kept. It may hold a password."""
KEPT_FROM_JOBS = (ROLES, AUDIT_URL)
"""Variables that the process of a job does not inherit: it may run code that ships with a checkpoint."""
HOURS = 12
"""A sign-in counts for so long; then one has to sign in again."""

Role = Literal["viewer", "auditor", "operator"]
Right = Literal["read", "audit", "change"]
NEEDS: dict[Right, Role] = {"read": "viewer", "audit": "auditor", "change": "operator"}
"""read: all pages and downloads. audit: write audit records. change: start, cancel, delete, restore and import runs,
save slices, load models. Each role may do what the roles before it may."""


class AccessError(InputError):
    """Something that this person may not do; one line."""


class Roles(Strict):
    """The file of roles."""

    default: Role | None = None
    """The role of everybody else who can sign in; without it they have none."""
    accept_unverified_email: bool = False
    """Whether to trust the e-mail of a provider that does not say that it has verified it."""
    roles: dict[str, Role] = Field(default_factory=dict)
    """E-mail → role."""


@dataclass(frozen=True)
class Person:
    email: str
    """What the provider says, in lower case. Empty: nobody, or the person at this machine."""
    role: Role | None
    why: str = ""
    """Why somebody has no role, in words."""

    def may(self, right: Right) -> bool:
        order = get_args(Role)
        return self.role is not None and order.index(self.role) >= order.index(NEEDS[right])


LOCAL = Person("", "operator")
"""Whoever uses a dashboard without sign-in."""
NOBODY = Person("", None, "Nobody is signed in.")


def person() -> Person:
    """Who is asking. Raises InputError where the file of roles can't be read."""
    if not (path := os.environ.get(ROLES)):
        return LOCAL
    import streamlit as st

    return known(st.user.to_dict(), read_roles(Path(path)))


def may(right: Right) -> bool:
    return person().may(right)


def require(right: Right) -> Person:
    """Who is asking, if they have this right. Raises AccessError."""
    asking = person()
    if not asking.may(right):
        have = f"{asking.email} is {asking.role}" if asking.role else asking.why
        raise AccessError(f"This needs the role {NEEDS[right]}. {have}: ask whoever runs this server")
    return asking


def known(claims: Mapping[str, Any], roles: Roles) -> Person:
    """The person that the provider's claims speak of, with their role."""
    email = str(claims.get("email") or "").strip().lower()
    if claims.get("is_logged_in") is not True:
        return NOBODY
    if not time.time() - float(claims.get("iat") or 0) < HOURS * 3600:
        return Person("", None, f"The sign-in is more than {HOURS} hours old.")
    if not email:
        return Person("", None, "The provider gives no e-mail.")
    if claims.get("email_verified") is not True and not roles.accept_unverified_email:
        return Person(email, None, f"The provider has not verified the e-mail {email}.")
    role = roles.roles.get(email, roles.default)
    return Person(email, role, "" if role else f"{email} has no role here.")


def read_roles(path: Path) -> Roles:
    """Raises InputError, one line, where the file can't be read or says something else than roles."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: the roles can't be read: {reason}") from None
    found = parse_spec(given, str(path), Roles)
    lowered = {email.strip().lower(): role for email, role in found.roles.items()}
    if len(lowered) < len(found.roles):
        raise InputError(f"{path}: an e-mail stands twice under [roles] (capitals do not count): remove one")
    return found.model_copy(update={"roles": lowered})
