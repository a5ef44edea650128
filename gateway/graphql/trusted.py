"""Documents that are known by an id: those that the operator trusts, and, unless only these are
answered, those that callers have sent with their hash before (Apollo's automatic persisted
queries)."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from graphql import GraphQLError, GraphQLSchema, parse, validate

from stores.errors import ForbiddenError, InputError, SetupError

MOST_LEARNED = 2_000
MOST_LEARNED_CHARACTERS = 4_000_000
LONGEST_LEARNED = 50_000
MOST_TRUSTED = 20_000
LARGEST_MANIFEST = 50_000_000
_ENDINGS = (".graphql", ".gql")


class UnknownDocument(InputError):
    """The id is not known; a client of persisted queries then sends the text with it."""

    def __init__(self) -> None:
        super().__init__("PersistedQueryNotFound", code="PERSISTED_QUERY_NOT_FOUND")


class TrustedDocuments:
    """`trusted`: id → text. `only`: nothing else is answered."""

    def __init__(self, trusted: Mapping[str, str] | None = None, *, only: bool = False) -> None:
        self.only = only
        self._trusted = dict(trusted or {})
        self._hashes = {_hash(text): text for text in self._trusted.values()}
        self._learned: OrderedDict[str, str] = OrderedDict()
        self._characters = 0

    def says_as(self, other: TrustedDocuments) -> bool:
        """Return whether the same documents are trusted by both."""
        return self.only == other.only and self._trusted == other._trusted

    def text_of(self, values: Mapping[str, Any]) -> str:
        """The document that a request asks for, by `query`, `documentId` or
        `extensions.persistedQuery`. Raises InputError, UnknownDocument, ForbiddenError."""
        query, hash_ = values.get("query"), _persisted(values.get("extensions"))
        identity = values.get("documentId")
        if query is not None and (not isinstance(query, str) or not query.strip()):
            raise InputError("query must be a string with a GraphQL document")
        if identity is not None and not isinstance(identity, str):
            raise InputError("documentId must be a string")
        if identity is not None and (query is not None or hash_ is not None):
            raise InputError(
                "documentId and query exclude each other", hint="send only one of them"
            )
        if identity is not None:
            return self._known(identity)
        if query is None:
            if hash_ is None:
                raise InputError("query must be a string with a GraphQL document")
            return self._known(hash_)
        if hash_ is not None and _hash(query) != hash_:
            raise InputError("sha256Hash is not that of the query")
        if self.only:
            if _hash(query) not in self._hashes:
                raise ForbiddenError("only trusted documents are answered")
        elif hash_ is not None:
            self._learn(hash_, query)
        return query

    def _known(self, identity: str) -> str:
        bare = identity.removeprefix("sha256:")
        text = self._trusted.get(identity) or self._hashes.get(bare)
        if text is None and not self.only:
            text = self._learned.get(bare)
        if text is None:
            raise UnknownDocument
        return text

    def _learn(self, hash_: str, query: str) -> None:
        if hash_ in self._learned or len(query) > LONGEST_LEARNED:
            return
        self._learned[hash_] = query
        self._characters += len(query)
        while len(self._learned) > MOST_LEARNED or self._characters > MOST_LEARNED_CHARACTERS:
            self._characters -= len(self._learned.popitem(last=False)[1])

    def require_valid(self, schema: GraphQLSchema, subgraph: Callable[[], GraphQLSchema]) -> None:
        """Raise SetupError that names a trusted document which neither schema takes. `subgraph`
        makes the one that a federated gateway asks, whose documents are trusted by the same
        list."""
        federated: GraphQLSchema | None = None
        for identity, text in self._trusted.items():
            errors = _errors(schema, text)
            if errors:
                federated = federated or subgraph()
            if errors and _errors(federated, text):
                raise SetupError(
                    f"the trusted document {identity[:80]!r} does not fit the contract: "
                    f"{errors[0].message}"
                )


def _errors(schema: GraphQLSchema | None, text: str) -> list[GraphQLError]:
    try:
        return [] if schema is None else validate(schema, parse(text), max_errors=1)
    except GraphQLError as error:
        return [error]


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _persisted(extensions: Any) -> str | None:
    """`extensions.persistedQuery.sha256Hash`, where it is there."""
    entry = extensions.get("persistedQuery") if isinstance(extensions, dict) else None
    if entry is None:
        return None
    hash_ = entry.get("sha256Hash") if isinstance(entry, dict) else None
    if not isinstance(hash_, str) or entry.get("version") != 1:
        raise InputError("extensions.persistedQuery must have version 1 and a sha256Hash")
    return hash_.lower()


# Reading them -----------------------------------------------------------------------------------


def read_trusted(path: Path) -> dict[str, str]:
    """Documents by id: of a folder its `.graphql` files by their names, of a JSON file either an
    object id → text or the manifest that Apollo's tools write. Raises SetupError."""
    try:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix in _ENDINGS)
            found = {
                p.relative_to(path).with_suffix("").as_posix(): p.read_text("utf-8") for p in files
            }
        else:
            if path.stat().st_size > LARGEST_MANIFEST:
                raise SetupError(f"{path} is larger than {LARGEST_MANIFEST} bytes")
            found = _manifest(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SetupError(f"trusted_documents {path} cannot be read: {reason}") from None
    if not found or len(found) > MOST_TRUSTED:
        raise SetupError(
            f"trusted_documents {path} holds {len(found)} documents; it must be 1 to {MOST_TRUSTED}"
        )
    return found


def _manifest(path: Path) -> dict[str, str]:
    wrong = SetupError(
        f"trusted_documents {path} is not a manifest", hint='a JSON object {"id": "document", …}'
    )
    try:
        content = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError:
        raise wrong from None
    if isinstance(content, dict) and isinstance(content.get("operations"), list):
        entries = content["operations"]
        if not all(isinstance(e, dict) for e in entries):
            raise wrong
        content = {e.get("id"): e.get("body") for e in entries}
    if not isinstance(content, dict):
        raise wrong
    found: dict[str, str] = {}
    for identity, text in content.items():
        if not isinstance(identity, str) or not isinstance(text, str):
            raise wrong
        found[identity] = text
    return found
