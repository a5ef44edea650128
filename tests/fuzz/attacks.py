"""What attacks on a GraphQL server send (after those of the tool graphql-cop), each with the codes
of which one must be the answer; "" is an answer without an error."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}
LIMIT = ("LIMIT_EXCEEDED",)
BAD = ("BAD_USER_INPUT",)


@dataclass(frozen=True)
class Attack:
    name: str
    codes: tuple[str, ...]
    body: bytes = b""
    method: str = "POST"
    params: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=lambda: dict(JSON))


def _query(name: str, codes: tuple[str, ...], query: str, variables: Any = None) -> Attack:
    return Attack(name, codes, json.dumps({"query": query, "variables": variables}).encode())


def _nested(open_: str, close: str, depth: int, inside: str = "") -> str:
    return open_ * depth + inside + close * depth


def _doubled(count: int, of: str, field: str) -> str:
    """Each fragment spreads the one before it twice."""
    return (
        "".join(
            f" fragment f{i} on {of} {{ ...f{i - 1} ...f{i - 1} }}" for i in range(1, count + 1)
        )
        + f" fragment f0 on {of} {{ {field} }}"
    )


def _each_in_all(count: int, of: str, field: str) -> str:
    """Each fragment spreads all that come after it."""
    return "".join(
        f" fragment f{i} on {of} {{ {field} {' '.join(f'...f{j}' for j in range(i + 1, count))} }}"
        for i in range(count)
    )


WRITE = 'mutation { deleteThing(id: "1") { deleted } }'
DEEP_FILTER = _nested("{not: ", "}", 2000, "{}")

ATTACKS = (
    _query("aliases", LIMIT, "{" + " ".join(f"a{i}: __typename" for i in range(5000)) + "}"),
    _query("aliases of a read", LIMIT, "{" + " ".join(f'a{i}: thing(id: "{i}") {{ nr }}' for i in range(200)) + "}"),
    _query("directives", (*LIMIT, *BAD), "{ __typename " + "@aa" * 5000 + "}"),
    _query("known directives", (*LIMIT, *BAD), "{ __typename " + "@include(if: true)" * 500 + "}"),
    _query("the schema by 49 aliases", LIMIT, "{" + " ".join(f"a{i}: __schema {{ ...s }}" for i in range(49)) + "} fragment s on __Schema { types { name fields { name args { name description } } } }"),
    _query("a field again and again", LIMIT, "{" + "__typename " * 10_000 + "}"),
    _query("a nested field again and again", LIMIT, "{ things { nodes {" + "nr " * 5000 + "} } }"),
    _query("circular fragments", BAD, "{ ...a } fragment a on Query { ...b } fragment b on Query { ...a }"),
    _query("a fragment of itself", (*LIMIT, *BAD), "{ things { nodes { ...a } } } fragment a on Thing { maker { things { nodes { ...a } } } }"),
    _query("fragments that double", (*LIMIT, *BAD), "{ ...f0 }" + "".join(
        f" fragment f{i} on Query {{ a{i}: __typename ...f{i + 1} ...f{i + 1} }}" for i in range(60))
        + " fragment f60 on Query { __typename }"),
    _query("fragments that double in weight", ("", *LIMIT), "{ ...f60 }" + _doubled(60, "Query", "__typename")),
    _query("fragments that double below a page", ("", *LIMIT), "{ things { ...f60 } }" + _doubled(60, "ThingConnection", "nodes { nr }")),
    _query("fragments that double in the schema", ("", *LIMIT, "FORBIDDEN"), "{ __schema { ...f60 } }" + _doubled(60, "__Schema", "description")),
    _query("each fragment in all", ("", *LIMIT), "{ ...f0 }" + _each_in_all(60, "Query", "__typename")),
    _query("each fragment in all, below many fields", LIMIT, "{" + " ".join(f"a{i}: things {{ nodes {{ ...f0 }} }}" for i in range(45)) + "}" + _each_in_all(40, "Thing", "nr")),
    _query("each fragment in all of a subscription", BAD, "subscription { thingChanged { ...f0 } }" + _each_in_all(30, "ThingChange", "id")),
    _query("a mutation in fragments that double", BAD, "mutation { ...f60 }" + _doubled(60, "Query", "__typename")),
    _query("deep selection", LIMIT, "{ things { nodes " + _nested("{ maker { things { nodes ", "} } }", 200, "{ nr }") + "} }"),
    _query("deep introspection", (*LIMIT, *BAD, "FORBIDDEN"), "{ __schema { types { fields " + _nested("{ type { fields ", "} }", 30, "{ name }") + "} } }"),
    _query("circular introspection", (*LIMIT, *BAD, "FORBIDDEN"), "{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }"),
    _query("deep filter", (*LIMIT, *BAD), f"{{ things(filter: {DEEP_FILTER}) {{ totalCount }} }}"),
    _query("deep variables", (*LIMIT, *BAD), "query ($f: ThingFilter) { things(filter: $f) { totalCount } }", {"f": json.loads(_nested('{"not": ', "}", 400, "{}"))}),
    _query("deep list", (*LIMIT, *BAD), "{ things(filter: {nr: {in: " + _nested("[", "]", 3000) + "}}) { totalCount } }"),
    _query("huge list", LIMIT, "query ($l: [BigInt!]) { things(filter: {nr: {in: $l}}) { totalCount } }", {"l": list(range(100_000))}),
    _query("many conditions", LIMIT, "query ($f: ThingFilter) { things(filter: $f) { totalCount } }", {"f": {"or": [{"nr": {"eq": i}} for i in range(5000)]}}),
    _query("huge number", (*BAD, *LIMIT), "{ things(filter: {nr: {eq: " + "9" * 100_000 + "}}) { totalCount } }"),
    _query("huge float", (*BAD, *LIMIT), "{ things(filter: {rating: {eq: 1e999999999}}) { totalCount } }"),
    _query("huge decimal", (*BAD, *LIMIT), '{ things(filter: {exact: {eq: "1e999999999"}}) { totalCount } }'),
    _query("huge first", LIMIT, "{ things(first: 2147483647) { nodes { nr } } }"),
    _query("huge string", ("", *BAD, *LIMIT), "query ($s: String) { things(filter: {title: {contains: $s}}) { totalCount } }", {"s": "x" * 800_000}),
    _query("huge search text", LIMIT, "query ($s: String!) { searchThings(query: $s) { totalCount } }", {"s": "x " * 100_000}),
    _query("search of automata", ("", *BAD, *LIMIT), '{ searchThings(query: "' + "a" * 900 + '~ .*.*.*[^a]{1,1000}") { totalCount } }'),
    _query("SQL", ("", *BAD), "{ thing(id: \"1'; DROP TABLE things; --\") { nr } }"),
    _query("a NUL", BAD, '{ things(filter: {title: {eq: "\\u0000"}}) { totalCount } }'),
    _query("half a surrogate", BAD, '{ things(filter: {title: {eq: "\\ud800"}}) { totalCount } }'),
    _query("a long name", ("", *LIMIT, *BAD), "{ " + "a" * 100_000 + ": __typename }"),
    _query("a document of comments", (*LIMIT, *BAD), "#" * 500_000),
    _query("a string without end", (*LIMIT, *BAD), '{ thing(id: "' + "\\" * 100_001),
    _query("many operations", (*LIMIT, *BAD), " ".join(f"query q{i} {{ __typename }}" for i in range(1000))),
    Attack("batch", BAD, json.dumps([{"query": "{ __typename }"}] * 1000).encode()),
    Attack("no JSON", BAD, b"{query"),
    Attack("deep JSON", (*BAD, *LIMIT), _nested("[", "]", 200_000).encode()),
    Attack("deep objects", (*BAD, *LIMIT), _nested('{"a":', "}", 100_000, "1").encode()),
    Attack("invalid UTF-8", BAD, b'{"query": "{ __typename }\xff\xfe"}'),
    Attack("a lone surrogate", BAD, b'{"query": "{ a\\ud800 }"}'),
    Attack("UTF-16", ("UNSUPPORTED_MEDIA_TYPE", *BAD), '{"query": "{ __typename }"}'.encode("utf-16"), headers={"content-type": "application/json; charset=utf-16"}),
    Attack("too large", ("BODY_TOO_LARGE",), b" " * 2_000_000),
    Attack("a mutation by GET", ("METHOD_NOT_ALLOWED",), method="GET", params={"query": WRITE}),
    Attack("a mutation by HEAD", ("METHOD_NOT_ALLOWED",), method="HEAD", params={"query": WRITE}),
    Attack("a mutation by HEAD as a stream", ("",), method="HEAD", params={"query": WRITE}, headers={"accept": "text/event-stream"}),
    Attack("a mutation by GET as a stream", ("METHOD_NOT_ALLOWED",), method="GET", params={"query": WRITE}, headers={"accept": "text/event-stream"}),
    *(
        Attack(f"a mutation by {method}", ("METHOD_NOT_ALLOWED",), json.dumps({"query": WRITE}).encode(), method=method, params={"query": WRITE})
        for method in ("PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY")
    ),
    Attack("a mutation by GET, said to be a POST", ("METHOD_NOT_ALLOWED",), method="GET", params={"query": WRITE}, headers={"x-http-method-override": "POST"}),
    Attack("a mutation by form", ("UNSUPPORTED_MEDIA_TYPE",), ("query=" + WRITE).encode(), headers=FORM),
    Attack("a mutation as text", ("UNSUPPORTED_MEDIA_TYPE",), json.dumps({"query": WRITE}).encode(), headers={"content-type": "text/plain"}),
    Attack("a mutation by multipart", ("UNSUPPORTED_MEDIA_TYPE",), b"--x\r\n\r\n{}\r\n--x--", headers={"content-type": "multipart/form-data; boundary=x"}),
    Attack("a packed bomb that is none", (*BAD, "UNSUPPORTED_MEDIA_TYPE"), b"\x1f\x8b" + b"\x00" * 1000, headers=JSON | {"content-encoding": "gzip"}),
    Attack("a method of HTTP that is none", ("METHOD_NOT_ALLOWED",), b"{}", method="PROPFIND"),
    _query("an idempotency key of nobody", BAD, 'mutation { deleteThing(id: "77777", idempotencyKey: "' + "x" * 5000 + '") { deleted } }'),
)  # fmt: skip
