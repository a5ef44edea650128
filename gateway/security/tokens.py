"""Verifies JWTs: by a public key of the key set, with an algorithm that the settings pin, for
this audience, from this issuer, in its time. Whatever is wrong with a token, the caller hears
the same."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import jwt

from gateway.security.credentials import unauthenticated
from gateway.security.key_sets import KeySource
from stores.recent import Recent

KEPT = 10_000
"""Verified tokens that are remembered, so that a caller's next request need not verify again."""
KEPT_SECONDS = 300.0
MOST_ROLES = 200


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The claims that a token must have. `leeway`: seconds that clocks may differ. `roles_claim`:
    the name of a claim, or a path of names with dots."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    roles_claim: str = "roles"
    leeway: float = 10.0


@dataclass(frozen=True, slots=True)
class Bearer:
    """The subject that a token names, and the roles it gives them, of whatever kind."""

    subject: str
    roles: frozenset[str]


class TokenVerifier:
    def __init__(self, rules: TokenRules, source: KeySource) -> None:
        self.rules, self.source = rules, source
        self._kept: Recent[str, tuple[float, int, Bearer]] = Recent(KEPT)

    async def verify(self, token: str) -> Bearer:
        """Raises HttpProblem (401); StoreUnavailable where no key can be had."""
        kept = self._kept.get(token)
        if kept is not None:
            until, version, bearer = kept
            if time.time() < until and version == self.source.version:
                return bearer
            self._kept.drop(token)
        algorithm, kid = self._header(token)
        key = await self.source.find(algorithm, kid)
        if key is None:
            raise _wrong()
        claims = self._claims(token, key, algorithm)
        bearer = Bearer(str(claims["sub"]), roles_in(claims, self.rules.roles_claim))
        now = time.time()
        until = min(float(claims["exp"]) + self.rules.leeway, now + KEPT_SECONDS)
        self._kept.keep(token, (until, self.source.version, bearer))
        return bearer

    def _header(self, token: str) -> tuple[str, str | None]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise _wrong() from None
        algorithm, kid = header.get("alg"), header.get("kid")
        # An extension that must be understood (RFC 7515, crit) is not: no token of ours has one.
        if algorithm not in self.rules.algorithms or "crit" in header:
            raise _wrong()
        return algorithm, kid

    def _claims(self, token: str, key: jwt.PyJWK, algorithm: str) -> dict[str, Any]:
        rules = self.rules
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=rules.audience,
                issuer=rules.issuer,
                leeway=rules.leeway,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, OverflowError):
            raise _wrong() from None
        return claims


def _wrong() -> Exception:
    return unauthenticated(
        "the token is not valid",
        hint="a token must be signed by a known key, be current, and name this issuer and audience",
        error="invalid_token",
    )


def roles_in(claims: dict[str, Any], name: str) -> frozenset[str]:
    """The roles at a claim, or at a path of claims: a list of texts, or a text with spaces
    between."""
    found: Any = claims.get(name)
    if found is None:
        found = claims
        for step in name.split("."):
            found = found.get(step) if isinstance(found, dict) else None
    if isinstance(found, str):
        found = found.split()
    if not isinstance(found, list):
        return frozenset()
    return frozenset(r for r in found[:MOST_ROLES] if isinstance(r, str))
