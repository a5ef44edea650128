"""Fingerprints of what decides the content of a generation: another one needs a reload.

Descriptions, checks, masks and names that only callers see are left out: changing them reloads
nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson

from stores.contract.model import Contract, Embed, Property, RecordType, Scalar

WORDS = 2
"""The version of how texts are cut into words (`stores.search.runs`): a new one reloads what is
searched by words."""


def document_shape(contract: Contract, type_name: str) -> str:
    """16 hexadecimal digits of everything that decides the documents of a type."""
    record_type = contract.types[type_name]
    return _digest(_type(contract, record_type, record_type.embeds, with_search=False))


def search_shape(contract: Contract, type_name: str) -> str:
    """The same of a search index: the documents, and how each property takes part in search."""
    record_type = contract.types[type_name]
    return _digest(_type(contract, record_type, record_type.embeds, with_search=True))


def contract_digest(contract: Contract) -> str:
    """16 hexadecimal digits of all that the contract means, however it is written down."""
    # By its fields: an object also keeps what was once computed of them.
    said = asdict(contract) | {"source": ""}
    text = orjson.dumps(said, default=_plain, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:16]


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset | set):
        return sorted(value)
    return str(value)


def _digest(shape: Any) -> str:
    return hashlib.sha256(orjson.dumps(shape)).hexdigest()[:16]


def _type(
    contract: Contract, record_type: RecordType, embeds: Sequence[Embed], *, with_search: bool
) -> list[Any]:
    # The foreign keys are here because a store answers "children of" by them.
    return [
        record_type.schema,
        record_type.table,
        record_type.key,
        [_property(p, with_search) for p in record_type.properties],
        sorted([r.target, r.columns, r.target_columns] for r in record_type.relations if r.owner),
        [
            _embed(contract, record_type, embed, with_search)
            for embed in sorted(embeds, key=lambda e: e.relation)
        ],
    ]


def _embed(
    contract: Contract, record_type: RecordType, embed: Embed, with_search: bool
) -> list[Any]:
    relation = record_type.relation_by_name[embed.relation]
    target = contract.types[relation.target]
    return [
        relation.name,
        relation.many,
        relation.columns,
        relation.target_columns,
        _type(contract, target, embed.embeds, with_search=with_search),
    ]


def _property(prop: Property, with_search: bool) -> list[Any]:
    # The scale of a decimal is in its text; other changes of a Postgres type change no document.
    shape = [
        prop.name,
        prop.column,
        prop.scalar.value,
        prop.array,
        prop.sql_type if prop.scalar is Scalar.DECIMAL else "",
    ]
    if not with_search:
        return shape
    # Only what is kept in the index: what is said of queries alone reloads nothing.
    search = prop.search
    by_words = search.text and search.analyzer != "keyword"
    kept = [search.text, search.analyzer, search.boost, search.facet, search.sort, search.suggest]
    if by_words:
        kept.append(WORDS)
    return [*shape, kept]
