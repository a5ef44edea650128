"""Makes the access rules of the settings: keys, tokens, and what is left to those without either.
The defaults are safe: everybody may ask, but from this machine only."""

from __future__ import annotations

import ipaddress
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.graphql.trusted import TrustedDocuments, read_trusted
from gateway.security.authenticate import EVERYBODY, Anonymous, Authenticator, Rules
from gateway.security.key_file import KeyFile
from recordgate.settings import Settings
from stores.contract.model import Contract
from stores.errors import SetupError

if TYPE_CHECKING:
    from gateway.security.tokens import TokenVerifier

log = logging.getLogger("recordgate")


def key_file(settings: Settings) -> Path:
    """Return the path of the file with API keys."""
    return settings.api_keys_file or settings.data_dir / "api_keys.json"


def authenticator(settings: Settings, contract: Contract) -> Authenticator:
    """Raises SetupError where the settings contradict themselves, or would open the gateway to
    everybody without saying so."""
    keys: KeyFile | None = KeyFile(key_file(settings))
    if settings.api_keys_file is None and not keys:
        keys = None
    tokens = _tokens(settings)
    known = keys is not None or tokens is not None
    local = is_loopback(settings.host)
    if settings.anonymous == "auto":
        if not known and not local:
            raise SetupError(
                f"host {settings.host} is reachable from other machines, but no authentication"
                " is configured",
                hint=(
                    "make an API key (`recordgate keys create`) or set jwks; or set anonymous to"
                    " read or write"
                ),
            )
        anonymous = Anonymous.NO if known else Anonymous.WRITE
    else:
        anonymous = Anonymous(settings.anonymous)
    if anonymous is Anonymous.WRITE and not local:
        log.warning("every caller that can connect to %s may read and write", settings.host)
    _require_known(settings, contract)
    rules = Rules(
        anonymous,
        frozenset(settings.anonymous_roles),
        local=settings.anonymous == "auto" and anonymous is not Anonymous.NO,
        introspection=frozenset(settings.introspection_roles),
        operators=frozenset(settings.operator_roles),
    )
    if anonymous is not Anonymous.NO and not rules.local and EVERYBODY in rules.operators:
        log.warning(
            "/metrics and the console are open to callers without credentials: operator_roles is *"
        )
    return Authenticator(contract, rules, keys=keys, tokens=tokens)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _require_known(settings: Settings, contract: Contract) -> None:
    for name in ("anonymous_roles", "introspection_roles", "operator_roles"):
        for role in getattr(settings, name):
            if role not in contract.roles and not (role == EVERYBODY and name != "anonymous_roles"):
                raise SetupError(
                    f"setting {name}: the contract has no role {role!r}",
                    hint="one of " + (", ".join(contract.roles) or "none: add `roles` to it"),
                )


def trusted_documents(settings: Settings) -> TrustedDocuments:
    """Raises SetupError."""
    if settings.trusted_documents is None:
        if settings.trusted_only:
            raise SetupError("setting trusted_only: there are no trusted_documents")
        return TrustedDocuments()
    return TrustedDocuments(read_trusted(settings.trusted_documents), only=settings.trusted_only)


def _tokens(settings: Settings) -> TokenVerifier | None:
    # Imported here: it takes a moment, and most that start need it not.
    from gateway.security.key_sets import ALGORITHMS, KeySource, is_url, reader
    from gateway.security.tokens import TokenRules, TokenVerifier

    if settings.jwks is None:
        for name in ("jwt_issuer", "jwt_audience"):
            if getattr(settings, name) is not None:
                raise SetupError(f"setting {name}: there is no jwks to verify tokens with")
        return None
    if not settings.jwt_issuer or not settings.jwt_audience:
        raise SetupError(
            "setting jwks: jwt_issuer and jwt_audience must be set as well",
            hint="without them, a token made for another service would be accepted",
        )
    for algorithm in settings.jwt_algorithms:
        if algorithm not in ALGORITHMS:
            raise SetupError(
                f"setting jwt_algorithms: {algorithm!r} is not supported",
                hint="of " + ", ".join(ALGORITHMS),
            )
    source = KeySource(reader(settings.jwks), settings.jwt_algorithms)
    if not is_url(settings.jwks):
        try:
            source.load()
        except OSError as error:
            raise SetupError(f"jwks {settings.jwks} cannot be read: {error.strerror}") from None
        except SetupError as error:
            raise SetupError(f"jwks {settings.jwks}: {error.message}") from None
    rules = TokenRules(
        settings.jwt_issuer,
        settings.jwt_audience,
        settings.jwt_algorithms,
        settings.jwt_roles_claim,
        settings.jwt_leeway,
    )
    return TokenVerifier(rules, source)
