"""The services that a request of the gateway may use: the contract, the stores, canonical's pool,
the settings.

`recordgate` wires one `Services` per process; resolvers find it in the GraphQL context as
`RequestContext.services`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from graphql import DocumentNode

from gateway.compiler.masks import MaskKey
from gateway.compiler.verdicts import followed_types
from gateway.context.bulkheads import Bulkhead
from gateway.context.canonical_away import CanonicalAway, Expiring
from gateway.context.guarded_stores import GuardedStore
from gateway.context.listener import CanonicalListener
from gateway.context.plan_cache import PlanCache
from stores.canonical.connect import Pool
from stores.canonical.kept_changes import Followed
from stores.contract.model import Contract
from stores.lineage import Lineage
from stores.protocols import DocumentStore, SearchStore, Store
from stores.roles import STORE_ROLES, StoreRole

log = logging.getLogger("gateway")

OVERWORKED_SECONDS = 30.0


GRACE = 5.0
"""Seconds that a request may take beside its longest statement."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The gateway's limits; recordgate/settings.py documents each."""

    statement_timeout: float = 15.0
    max_body_bytes: int = 1_000_000
    max_depth: int = 15
    max_aliases: int = 100
    max_tokens: int = 8_000
    document_timeout: float = 2.0
    search_timeout: float = 10.0
    fallback_reads: int = 5
    max_cost: int = 250_000
    max_batch: int = 0

    @property
    def request_seconds(self) -> float:
        """The most that a request may take."""
        return self.statement_timeout + GRACE


@dataclass(slots=True)
class Services:
    """`pool` connections are autocommit and have SESSION_SETTINGS; `system` is canonical's system
    identifier with its database's OID ("7412…/16384"), which tokens and positions carry. It and the
    timelines follow what canonical's address leads to (`follow`)."""

    contract: Contract
    pool: Pool
    documents: DocumentStore
    search: SearchStore
    system: str
    token_secret: bytes
    limits: Limits = field(default_factory=Limits)
    text_order_is_bytewise: bool = True
    """True where canonical's default collation orders text by its bytes, as the other stores do."""
    mask_secret: bytes = b""
    """Empty: made of `token_secret`."""
    timeline: int = 0
    """The timeline that canonical writes, as was last seen; 0: not seen yet."""
    first_timeline: int = 1
    """The timeline of tokens and positions that say none."""
    mask_key: MaskKey = field(init=False, compare=False, repr=False)
    """The key of the hashes that stand for masked values: nobody without it can check a guess."""
    _shapes: dict[tuple[StoreRole, str], str] = field(default_factory=dict)
    plans: PlanCache[Any] = field(default_factory=PlanCache, init=False, compare=False)
    """The plans of the last queries; of these services alone."""
    guards: dict[StoreRole, GuardedStore] = field(init=False, compare=False)
    followed: dict[str, Followed] = field(init=False, compare=False)
    """The types whose changes are kept, by name."""
    listener: CanonicalListener = field(
        default_factory=CanonicalListener, init=False, compare=False
    )
    away: CanonicalAway = field(default_factory=CanonicalAway, init=False, compare=False)
    """The doubt in canonical: whether it is taken to be away."""
    overworked: Expiring[Any] = field(
        default_factory=lambda: Expiring(OVERWORKED_SECONDS), init=False, compare=False
    )
    """Lists that the document store had to stop: they are canonical's for a while."""
    fallbacks: Bulkhead = field(init=False, compare=False)
    """Reads of canonical in the place of a store that fails, is stale, or slow."""
    fallbacks_taken: int = field(default=0, init=False, compare=False)
    fallbacks_refused: int = field(default=0, init=False, compare=False)
    hedges_begun: int = field(default=0, init=False, compare=False)
    hedges_won: int = field(default=0, init=False, compare=False)

    def __post_init__(self) -> None:
        limits = self.limits
        self.followed = followed_types(self.contract)
        self.mask_key = MaskKey.of(self.mask_secret or self.token_secret)
        self.guards = {
            StoreRole.DOCUMENTS: GuardedStore(
                self.documents, StoreRole.DOCUMENTS, limits.document_timeout
            ),
            StoreRole.SEARCH: GuardedStore(self.search, StoreRole.SEARCH, limits.search_timeout),
        }
        self.documents = cast(DocumentStore, self.guards[StoreRole.DOCUMENTS])
        self.search = cast(SearchStore, self.guards[StoreRole.SEARCH])
        self.fallbacks = Bulkhead(limits.fallback_reads)
        self.listener.seen = self.follow
        self.listener.collected = bool(self.contract.collected)

    def follow(self, seen: Lineage) -> None:
        """Canonical's address leads to `seen`: another server after a failover, another database
        after a restore."""
        if not seen.timeline:
            return  # a standby, which nothing is written to
        if seen.system != self.system:
            log.warning("canonical is a different database now: the stores wait for the worker")
        elif self.timeline and seen.timeline != self.timeline:
            log.warning("canonical is on timeline %d now", seen.timeline)
        self.system, self.timeline, self.first_timeline = seen.system, seen.timeline, seen.first

    def canonical_away(self) -> str:
        """Return why canonical is not asked first for what another store can answer; else empty."""
        return self.away.why(time.monotonic())

    def refusals(self) -> dict[str, str]:
        """Store → why it is not to be asked now, of those that are not."""
        why = self.guards[StoreRole.DOCUMENTS].refusal()
        return {StoreRole.DOCUMENTS: why} if why else {}

    def store(self, role: StoreRole) -> Store:
        """Return the store of a role, behind its guard."""
        return cast(Store, self.guards[role])

    def fingerprint(self, role: StoreRole, type_name: str) -> str:
        """Return the fingerprint that a generation of the type has in a store of `role` under this
        contract."""
        shape = self._shapes.get((role, type_name))
        if shape is None:
            shape = STORE_ROLES[role].fingerprint(self.contract, type_name)
            self._shapes[role, type_name] = shape
        return shape


@dataclass(frozen=True, slots=True)
class Viewer:
    """The caller of a request. `roles`: those of the contract only. `caller` tells callers apart
    whose requests are counted; `may_introspect`: read the schema and plans; `is_operator`: metrics
    and the console."""

    name: str = "anonymous"
    roles: frozenset[str] = frozenset()
    caller: str = ""
    may_write: bool = True
    may_introspect: bool = True
    is_operator: bool = True


@dataclass(frozen=True, slots=True)
class Freshness:
    """The freshness that a caller asks of every answer of the request. Times in seconds; None: not
    asked."""

    after: str | None = None
    max_staleness: float | None = None
    wait_up_to: float = 0.0


ReadField: TypeAlias = "tuple[bool, Any]"
"""The result of a read for a root field: (True, a record of the document store) or (False, the JSON
that canonical gave); None where there is no record."""


@dataclass(slots=True)
class RequestContext:
    """One GraphQL request. `routes` collects `extensions.recordgate.fields` by response path,
    `plans` what `explain` asks for, `weights` what was weighed for it."""

    services: Services
    viewer: Viewer = field(default_factory=Viewer)
    freshness: Freshness = field(default_factory=Freshness)
    explain: bool = False
    routes: dict[str, dict[str, Any]] = field(default_factory=dict)
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: dict[str, dict[str, Any]] = field(default_factory=dict)
    token: str | None = None
    """The token of the last write of this request."""
    cost: int = 0
    """The highest cost that the operation may have, as soon as it is known."""
    introspects: bool = False
    """True where the operation asks for the schema itself."""
    schema_fields: int = 0
    """Fields of the answer that are about the schema itself, so far."""
    idempotency_key: str | None = None
    """The request's `Idempotency-Key`."""
    operation: str = ""
    """"query" or "mutation", as soon as it is known."""
    types: frozenset[str] = frozenset()
    """The record types that its root fields are about, as soon as they are known."""
    as_of: dict[str, str] = field(default_factory=dict)
    """The moment, by root field, at which its answer was whole, once it was asked for."""
    records: Any = None
    """`gateway.query.record_access.Records`, for the resolvers that a product adds."""
    document: DocumentNode | None = None
    """The document that is executed, once it is valid and admitted."""
    read: Mapping[str, ReadField] | None = None
    """The root fields, by response name, that are read already, before execution begins."""
    rerouted: bool = False
    """A root field was answered otherwise than its plan has it at first."""
