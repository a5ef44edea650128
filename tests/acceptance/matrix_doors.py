"""The doors of the matrix: requests, generated from the contract, that try to bring every value of every property out,
straight and by inference."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from gateway.shape.aggregates import FUNCTIONS, has_function
from gateway.shape.names import field_of
from gateway.shape.orders import orderable
from stores.contract.model import Contract, Property, RecordType
from tests.acceptance.matrix_world import rows, texts


@dataclass(frozen=True)
class Ask:
    """One request. `property`: what it asks about, where the viewer must see that plainly for an answer.
    `values`: the door gives values of records."""

    door: str
    method: str
    path: str
    body: Any = None
    params: Any = None
    headers: Any = None
    property: tuple[str, str] | None = None
    values: bool = False


HTML = {"Accept": "text/html"}


def graphql(door: str, query: str, **more: Any) -> Ask:
    return Ask(door, "POST", "/graphql", {"query": query}, **more)


def quoted(value: Any) -> str:
    return json.dumps(value)


def fields(t: RecordType) -> str:
    return "id nodeId " + " ".join(field_of(t, p) for p in t.properties if field_of(t, p) != "id")


def upper(name: str) -> str:
    return name[:1].upper() + name[1:]


def asks(contract: Contract) -> Iterator[Ask]:
    """Every request of the matrix."""
    for t in contract.types.values():
        yield from _reads(contract, t)
        for p in t.properties:
            yield from _about(contract, t, p)
        yield from _searches(t)
        yield from _exports(t)
        yield from _writes(t)
        yield from _pages(t)
    for path in (
        "/openapi.json",
        "/product",
        "/contract",
        "/schema.graphql",
        "/console/state",
        "/metrics",
        "/graphiql/samples",
        "/graphiql/viewer",
        "/graphql/subgraph",
    ):
        yield Ask("descriptions", "GET", path)
    for path in ("/", "/browse/nothing", "/graphql"):
        yield Ask("page", "GET", path, headers=HTML)


def _reads(contract: Contract, t: RecordType) -> Iterator[Ask]:
    shown = fields(t)
    keys = [row[t.key_properties[0].name] for row in rows()[t.name]]
    for key in keys:
        query = f"{t.single}(id: {quoted(key)}) {{ {shown} }}"
        yield graphql("get", f"{{ {query} }}", values=True)
        yield graphql("explain", f"{{ {query} }}", headers={"Recordgate-Explain": "1"})
        yield graphql(
            "node", f"{{ node(id: {quoted(f'{t.graphql}:{key}')}) {{ nodeId ... on {t.graphql} {{ {shown} }} }} }}",
            values=True,
        )  # fmt: skip
    # As a federated gateway asks: keys of all records, those that are hidden among them.
    wanted = [{"__typename": t.graphql, "id": str(key)} for key in keys]
    query = "query ($r: [_Any!]!) { _entities(representations: $r) { ... on %s { %s } } }"
    yield Ask(
        "entities", "POST", "/graphql/subgraph",
        {"query": query % (t.graphql, shown), "variables": {"r": wanted}}, values=True,
    )  # fmt: skip
    page = "totalCount edges { cursor node { %s } } nodes { %s } pageInfo { startCursor endCursor }"
    yield graphql(
        "list", f"{{ {t.plural}(first: 100) {{ {page % (shown, shown)} }} }}", values=True
    )
    for relation in t.relations:
        target = contract.types[relation.target]
        inside = fields(target)
        below = f"{relation.graphql} {{ {inside} }}"
        if relation.many:
            below = f"{relation.graphql}(first: 50) {{ {page % (inside, inside)} }}"
        yield graphql("nested", f"{{ {t.plural}(first: 100) {{ nodes {{ id {below} }} }} }}")
        yield graphql("nested", f"{{ {t.single}(id: {quoted(keys[0])}) {{ id {below} }} }}")
        if t.searchable:
            yield graphql(
                "nested",
                f'{{ search{upper(t.plural)}(query: "", first: 100) {{ nodes {{ id {below} }} }} }}',
            )
        for p in target.properties:
            about = (target.name, p.name)
            name = field_of(target, p)
            if not relation.many and orderable(p):
                group = f"{relation.graphql}_{name}"
                yield graphql(
                    "group",
                    f"{{ {t.plural}Aggregate(groupBy: [{group}], first: 100) {{ count group {{ {relation.graphql} {{ {name} }} }} }} }}",
                    property=about,
                )
            condition = f"{{{relation.graphql}: {{{name}: {{isNull: false}}}}}}"
            yield graphql(
                "filter", f"{{ {t.plural}(filter: {condition}) {{ totalCount }} }}", property=about
            )
            if not relation.many and orderable(p):
                order = f"[{{{relation.graphql}: {{{name}: DESC}}}}]"
                yield graphql(
                    "order", f"{{ {t.plural}(orderBy: {order}, first: 100) {{ edges {{ cursor node {{ id }} }} }} }}",
                    property=about,
                )  # fmt: skip


def _values(t: RecordType, p: Property) -> list[Any]:
    """What a caller may guess: values that are there, and one that is not."""
    found = [v for row in rows()[t.name] for v in texts(row[p.name])][:2]
    if p.logical.value == "integer":
        return [*map(int, found), 5]
    return [*found, "1999-01-01" if p.logical.value == "date" else "nothing"]


def _about(contract: Contract, t: RecordType, p: Property) -> Iterator[Ask]:
    """All that would tell something of one property's values."""
    about = (t.name, p.name)
    name, search = field_of(t, p), f"search{upper(t.plural)}"
    conditions = ["{isNull: true}", "{isNull: false}"]
    if p.logical.value in ("string", "integer", "date"):
        for value in _values(t, p):
            conditions += [f"{{{op}: {quoted(value)}}}" for op in ("eq", "gt")]
        conditions.append(f"{{in: {quoted(_values(t, p))}}}")
    if p.logical.value == "string":
        conditions += [f'{{startsWith: "{v[:4]}"}}' for v in _values(t, p)]
    if p.array:
        conditions += [f"{{contains: {quoted(v)}}}" for v in _values(t, p)]
    given = [f"{{{name}: {condition}}}" for condition in conditions]
    for condition in (*given, f"{{not: {{or: [{given[-1]}]}}}}"):
        yield graphql(
            "filter",
            f"{{ {t.plural}(filter: {condition}) {{ totalCount edges {{ cursor node {{ id }} }} }} }}",
            property=about,
        )
    first = f"{{{name}: {conditions[2] if len(conditions) > 2 else conditions[0]}}}"
    yield graphql(
        "aggregate", f"{{ {t.plural}Aggregate(filter: {first}) {{ count }} }}", property=about
    )
    nothing = f'{{{field_of(t, t.key_properties[0])}: {{eq: "none"}}}}'
    yield graphql(
        "mutation",
        f"mutation {{ delete{upper(t.plural)}(filter: {{and: [{first}, {nothing}]}}, max: 1) {{ count }} }}",
        property=about,
    )
    as_json = json.dumps({name: {"isNull": False}})
    yield Ask("export", "GET", f"/export/{t.name}", params={"filter": as_json}, property=about)
    if t.searchable:
        yield graphql(
            "search", f'{{ {search}(query: "", filter: {first}) {{ totalCount }} }}', property=about
        )
        yield Ask(
            "search",
            "GET",
            f"/search/{t.name}",
            params={"q": "", "filter": as_json},
            property=about,
        )
    if orderable(p):
        for way in ("ASC", "DESC"):
            yield graphql(
                "order",
                f"{{ {t.plural}(orderBy: [{{{name}: {way}}}], first: 100) {{ edges {{ cursor node {{ id }} }} }} }}",
                property=about,
            )
        group = f"{t.plural}Aggregate(groupBy: [{name}], first: 100) {{ count group {{ {name} }} }}"
        yield graphql("group", f"{{ {group} }}", property=about)
        for function in FUNCTIONS:
            if has_function(function, p):
                for part in (
                    f"{{ {function} {{ {name} }} }}",
                    f"(having: {{{function}: {{{name}: {{isNull: false}}}}}}) {{ count }}",
                    f"(orderBy: [{{{function}: {{{name}: ASC}}}}]) {{ count }}",
                ):
                    yield graphql("aggregate", f"{{ {t.plural}Aggregate{part} }}", property=about)
    if p.search.facet:
        for query in ("", *map(str, _values(t, p))):
            yield graphql(
                "facet",
                f"{{ {search}(query: {quoted(query)}, facets: [{name}]) {{ facets {{ field buckets {{ value count }} }} }} }}",
                property=about,
            )
        # A condition on the facet's own property is left out of its counts; a row filter must not be.
        yield Ask(
            "facet", "GET", f"/search/{t.name}", params={"q": "", "facets": name}, property=about
        )
        if p.logical.value in ("string", "integer", "date"):
            own = f"{{{name}: {{eq: {quoted(_values(t, p)[0])}}}}}"
            yield graphql(
                "facet", f'{{ {search}(query: "", filter: {own}, facets: [{name}]) {{ facets {{ buckets {{ value count }} }} }} }}',
                property=about,
            )  # fmt: skip
    if p.search.sort:
        yield graphql(
            "sort", f'{{ {search}(query: "", sort: [{{{name}: DESC}}], first: 100) {{ edges {{ cursor node {{ id }} }} }} }}',
            property=about,
        )  # fmt: skip
        yield Ask(
            "sort", "GET", f"/search/{t.name}", params={"q": "", "sort": name}, property=about
        )
    if p.search.text:
        yield Ask(
            "highlight",
            "GET",
            f"/search/{t.name}",
            params={"q": str(_values(t, p)[0]), "highlight": name},
            property=about,
        )
    if not p.generated and p.column not in t.key:
        value = (
            "null"
            if not p.required
            else quoted(_values(t, p)[0] if p.logical.value != "boolean" else True)
        )
        yield graphql(
            "write",
            f'mutation {{ update{upper(t.single)}(id: "none", input: {{{name}: {value}}}) {{ {t.single} {{ {fields(t)} }} }} }}',
            property=about,
        )


def _searches(t: RecordType) -> Iterator[Ask]:
    if not t.searchable:
        return
    search = f"search{upper(t.plural)}"
    inside = f"totalCount suggestions edges {{ score cursor highlights {{ field fragments }} node {{ {fields(t)} }} }}"
    words = [v for row in rows()[t.name][:6:2] for value in row.values() for v in texts(value)]
    typo = [w[:5] + "q" + w[6:] for w in words if w.isalpha()]
    yield graphql("search", f'{{ {search}(query: "", first: 100) {{ {inside} }} }}', values=True)
    yield Ask("search", "GET", f"/search/{t.name}", params={"q": "", "first": "100"}, values=True)
    for word in [*words, *typo[::3]]:
        yield graphql("search", f"{{ {search}(query: {quoted(word)}, first: 5) {{ {inside} }} }}")
        yield Ask("search", "GET", f"/search/{t.name}", params={"q": word, "suggestions": "true"})
    for word in words:
        yield Ask("suggest", "GET", f"/suggest/{t.name}", params={"q": word[:4], "first": "50"})


def _exports(t: RecordType) -> Iterator[Ask]:
    for format_ in ("ndjson", "csv", "parquet"):
        path = f"/export/{t.name}"
        for more in ({}, {"changes": "1"}):
            params = {"format": format_, **more}
            yield Ask("export", "GET", path, params=params, values=format_ == "ndjson")
        for p in t.properties if format_ == "csv" else ():
            yield Ask("export", "GET", path, params={"format": format_, "fields": field_of(t, p)})


def _pages(t: RecordType) -> Iterator[Ask]:
    """Every page of the data browser, and the addresses that guess at values."""
    place = f"/browse/{t.name}"
    yield Ask("page", "GET", place, params={"size": "100"}, headers=HTML)
    for row in rows()[t.name]:
        key = row[t.key_properties[0].name]
        yield Ask("page", "GET", f"{place}/{key}", headers=HTML, values=True)
    for p in t.properties:
        name = field_of(t, p)
        value = str(_values(t, p)[0])
        guesses = [(f"{name}.isNull", "false"), (f"{name}.eq", value), (f"{name}.gte", value)]
        for parameter, given in (*guesses, ("sort", f"-{name}"), ("q", value)):
            yield Ask("page", "GET", place, params={parameter: given}, headers=HTML)


def _writes(t: RecordType) -> Iterator[Ask]:
    """Writes that change nothing, so that the world stays as it is, and such that must fail."""
    shown = fields(t)
    key_name = field_of(t, t.key_properties[0])
    for row in rows()[t.name]:
        key = quoted(row[t.key_properties[0].name])
        yield graphql(
            "mutation",
            f"mutation {{ update{upper(t.single)}(id: {key}, input: {{}}) {{ {t.single} {{ {shown} }} }} }}",
            values=True,
        )
        given = ", ".join(
            f"{field_of(t, p)}: {quoted(row[p.name])}"
            for p in t.properties
            if p.required and not isinstance(row[p.name], dict)
        )
        yield graphql(
            "mutation",
            f"mutation {{ create{upper(t.single)}(input: {{{given}}}) {{ {t.single} {{ {shown} }} }} }}",
        )
        free = given.replace(f"{key_name}: {key}", f'{key_name}: "free"')
        for p in t.properties:
            if not p.required and p.unique and p.logical.value == "string":
                taken = quoted(row[p.name])
                yield graphql(
                    "mutation",
                    f"mutation {{ create{upper(t.single)}(input: {{{free}, {field_of(t, p)}: {taken}}}) {{ {t.single} {{ {shown} }} }} }}",
                )


# What left -------------------------------------------------------------------------------------

_ENCODED = re.compile(r"[A-Za-z0-9_+/-]{12,}={0,2}")
WINDOW = 6
"""Letters in a row that count as a part of a value."""


class Watch:
    """Finds `secrets` in bytes, however they are written: whole or in part, in a cursor, hashed without key."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.secrets = set(secrets)
        self._windows: dict[str, str] = {}
        self._hashes: dict[str, str] = {}
        self._plain: list[str] = []
        for secret in self.secrets:
            for name in ("md5", "sha1", "sha256", "sha512"):
                self._hashes[hashlib.new(name, secret.encode()).hexdigest()] = secret
            if secret.isalpha():
                for i in range(len(secret) - WINDOW + 1):
                    self._windows[secret[i : i + WINDOW]] = secret
            else:
                self._plain.append(secret)

    def found(self, content: bytes) -> set[str]:
        text = content.decode("utf-8", "replace")
        forms = [text, unquote_plus(text)]
        for run in set(_ENCODED.findall(text)):
            bare = run.rstrip("=").translate(str.maketrans("-_", "+/"))
            try:
                raw = base64.b64decode(bare + "=" * (-len(bare) % 4))
            except binascii.Error:
                continue
            forms += [raw.decode("utf-8", "replace"), raw[12:].decode("utf-8", "replace")]
        seen: set[str] = set()
        for form in forms:
            form = re.sub(r"</?em>", "", form).lower()
            for run in re.findall(r"[a-z]{6,}", form):
                for i in range(len(run) - WINDOW + 1):
                    if run[i : i + WINDOW] in self._windows:
                        seen.add(self._windows[run[i : i + WINDOW]])
            for run in re.findall(r"[0-9a-f]{32,}", form):
                if run in self._hashes:
                    seen.add(self._hashes[run])
            seen |= {secret for secret in self._plain if secret in form}
        return seen
