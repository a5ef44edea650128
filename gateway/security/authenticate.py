"""Makes a Viewer of the credential of a request, with those roles of the contract that it proves. A
role that the contract does not know is dropped: it would see what a rule only keeps from the roles
it names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from gateway.context.services import Viewer
from gateway.security.credentials import (
    Credential,
    asked_roles,
    credential_of,
    unauthenticated,
)
from gateway.security.key_file import KeyFile
from stores.contract.model import Contract
from stores.errors import ForbiddenError

if TYPE_CHECKING:  # it takes a moment to import, and most that start need it not
    from gateway.security.tokens import TokenVerifier

EVERYBODY = "*"
"""The entry in a list of roles that stands for all who may ask at all."""
KEPT = 10_000
"""Viewers that are kept."""


class Anonymous(StrEnum):
    """The rights of a request without a credential."""

    NO = "no"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Rules:
    """`local`: who is anonymous must have named this machine as the host, so that a page of another
    site cannot come in under a name of its own (DNS rebinding). `introspection` and `operators`:
    roles that may read the schema, and metrics and console; EVERYBODY among them: all."""

    anonymous: Anonymous = Anonymous.WRITE
    anonymous_roles: frozenset[str] = frozenset()
    local: bool = False
    introspection: frozenset[str] = frozenset({EVERYBODY})
    operators: frozenset[str] = frozenset({EVERYBODY})


class Authenticator:
    """Knows callers by API keys and tokens. With neither, everybody is anonymous."""

    def __init__(
        self,
        contract: Contract,
        rules: Rules | None = None,
        *,
        keys: KeyFile | None = None,
        tokens: TokenVerifier | None = None,
    ) -> None:
        self.contract = contract
        self.rules = rules or Rules()
        self.keys, self.tokens = keys, tokens
        self._known = frozenset(contract.roles)
        self._writing = self._known - frozenset(contract.read_only_roles)
        self._anonymous = self._viewer("anonymous", self.rules.anonymous_roles, named=False)
        self._viewers: dict[tuple[str, frozenset[str]], Viewer] = {}

    async def look_again(self) -> None:
        """See at once whether the keys have changed."""
        if self.keys is not None:
            await self.keys.look_again()

    async def viewer(self, headers: Sequence[tuple[bytes, bytes]], address: str) -> Viewer:
        """Return the viewer of a request that comes from `address`, with no more than the roles of
        `Recordgate-Roles`, where that is given. Raises HttpProblem (401), ForbiddenError,
        StoreUnavailable, InputError."""
        viewer = await self._whole(headers, address)
        wanted = asked_roles(headers)
        return viewer if wanted is None else self._narrowed(viewer, wanted)

    def _narrowed(self, viewer: Viewer, wanted: frozenset[str]) -> Viewer:
        """Return the viewer with fewer of their roles: they may do nothing more than before.
        Raises ForbiddenError."""
        if not wanted <= viewer.roles:
            raise ForbiddenError(
                "you have not every role that Recordgate-Roles names", hint="name roles of yours"
            )
        less = self._viewer(viewer.name, wanted, named=True)
        return replace(
            less,
            caller=viewer.caller,
            may_write=viewer.may_write and less.may_write,
            may_introspect=viewer.may_introspect and less.may_introspect,
            is_operator=viewer.is_operator and less.is_operator,
        )

    async def _whole(self, headers: Iterable[tuple[bytes, bytes]], address: str) -> Viewer:
        """Return the viewer with all their roles. Raises as `viewer` does."""
        credential = credential_of(headers)
        if credential is not None:
            return await self.known(credential)
        if self.rules.anonymous is Anonymous.NO:
            raise unauthenticated(
                "credentials are required",
                hint="send Authorization: Bearer, with a token or an API key",
            )
        if self.rules.local and not _names_this_machine(headers):
            raise ForbiddenError(
                "without credentials this gateway answers only requests to localhost",
                hint="send the request to localhost, or configure authentication",
            )
        return self._kept(f"address {address}", frozenset(), None)

    async def known(self, credential: Credential) -> Viewer:
        """Return the viewer whom a credential names. Raises as `viewer` does."""
        if credential.is_key:
            key = await self.keys.find(credential.text) if self.keys is not None else None
            if key is None:
                raise unauthenticated("the API key is not valid", error="invalid_token")
            return self._kept(f"key {key.id}", frozenset(key.roles), key.name)
        if self.tokens is None:
            raise unauthenticated("this gateway does not accept tokens", error="invalid_token")
        bearer = await self.tokens.verify(credential.text)
        return self._kept(f"subject {bearer.subject}", bearer.roles, bearer.subject)

    def _kept(self, caller: str, roles: frozenset[str], name: str | None) -> Viewer:
        """The viewer, made once; `name` None: anonymous."""
        found = self._viewers.get((caller, roles))
        if found is None:
            if len(self._viewers) >= KEPT:
                self._viewers.clear()
            viewer = self._anonymous if name is None else self._viewer(name, roles, named=True)
            found = self._viewers[caller, roles] = replace(viewer, caller=caller)
        return found

    def _viewer(self, name: str, roles: frozenset[str], *, named: bool) -> Viewer:
        own = roles & self._known
        if named:
            # Where the contract has no roles, to be known is enough.
            may_write = bool(own & self._writing) or not self._known
        else:
            may_write = self.rules.anonymous is Anonymous.WRITE
        return Viewer(
            name,
            own,
            may_write=may_write,
            may_introspect=_among(self.rules.introspection, own),
            is_operator=_among(self.rules.operators, own),
        )


def _among(allowed: frozenset[str], roles: frozenset[str]) -> bool:
    return EVERYBODY in allowed or bool(allowed & roles)


_LOCAL = frozenset((b"localhost", b"127.0.0.1", b"[::1]"))


def _names_this_machine(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    hosts = [value for name, value in headers if name == b"host"]
    names = [h if h.endswith(b"]") else h.rpartition(b":")[0] or h for h in hosts]
    return bool(names) and all(name.lower() in _LOCAL for name in names)
