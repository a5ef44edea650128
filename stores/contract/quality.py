"""Quality rules: one operator each, and a query that is one SELECT."""

from __future__ import annotations

import re

from stores.contract.node import Node

OPERATORS = (
    "mustBe", "mustNotBe", "mustBeGreaterThan", "mustBeGreaterOrEqualTo", "mustBeLessThan",
    "mustBeLessOrEqualTo", "mustBeBetween", "mustNotBeBetween",
)  # fmt: skip

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n]*)
    | (?P<comment>/\*)
    | (?P<string>[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<placeholder>\$?\{\w*\})
    | (?P<dollar>\$(?:[A-Za-z_]\w*)?\$)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_WRITES = frozenset(
    (
        "insert", "update", "delete", "merge", "truncate", "drop", "alter", "create", "grant",
        "revoke", "into",
    )
)  # fmt: skip


def check_quality(node: Node) -> None:
    """The rules of the schema object or property at `node`."""
    for rule in node.items("quality"):
        _check_operators(rule)
        query = rule.get("query")
        if isinstance(query.data, str):
            problem = select_problem(query.data)
            if problem:
                query.report(
                    "QUERY_NOT_SELECT", f"the query {problem}", "write one SELECT that reads only"
                )


def _check_operators(rule: Node) -> None:
    if not isinstance(rule.data, dict):
        return
    given = [op for op in OPERATORS if op in rule.data]
    if len(given) > 1:
        rule.get(given[1]).report(
            "TWO_OPERATORS",
            f"a quality rule has {' and '.join(given)}",
            "write one rule for each",
            at_key=True,
        )
    elif not given and _needs_operator(rule):
        rule.report(
            "TWO_OPERATORS", "a quality rule has no operator", f"one of {', '.join(OPERATORS)}"
        )


def _needs_operator(rule: Node) -> bool:
    return rule.text("type") in ("sql", "library") or bool(rule.text("metric"))


def select_problem(query: str) -> str:
    """Return why the text is not one reading SELECT, or an empty string. The linter never runs
    it."""
    tokens = _words(query)
    if tokens is None:
        return "has an unterminated string or comment"
    while tokens and tokens[-1] == ";":
        tokens.pop()
    if not tokens:
        return "is empty"
    if ";" in tokens:
        return "has more than one statement"
    first = next((t for t in tokens if t != "("), "")
    if first not in ("select", "with", "values"):
        return "is not a SELECT"
    writes = sorted(_WRITES.intersection(tokens))
    return f"has the word {writes[0].upper()}" if writes else ""


PLACEHOLDERS = {
    "object": "object", "table": "object", "property": "property", "column": "property",
}  # fmt: skip
"""`{name}` or `${name}` of a query → what it stands for."""


def placeholders(query: str) -> list[str]:
    """The names in `{…}` and `${…}` of a query, outside its strings and comments."""
    return [t.strip("${}") for kind, t in _pieces(query) if kind == "placeholder"]


def filled(query: str, values: dict[str, str]) -> str:
    """The query with the text of each placeholder, without semicolons at its end."""
    pieces = [
        (kind, values[PLACEHOLDERS[text.strip("${}")]] if kind == "placeholder" else text)
        for kind, text in _pieces(query)
    ]
    while pieces and (pieces[-1][0] in ("space", "comment") or pieces[-1][1] == ";"):
        pieces.pop()
    return "".join(text for _, text in pieces)


def function_names(query: str) -> set[str]:
    """Names that stand before a parenthesis: of functions, and some that are not."""
    found: set[str] = set()
    name = ""
    for kind, text in _pieces(query):
        if kind == "word":
            name = text.lower()
        elif kind == "quoted":
            name = text[1:-1].replace('""', '"')
        elif kind == "other" and text == "(":
            found |= {name} - {""}
            name = ""
        elif kind not in ("space", "comment"):
            name = ""
    return found


def _pieces(query: str) -> list[tuple[str, str]]:
    """(kind, text) of the whole query, in order. Comments and strings that do not end go to its
    end."""
    found: list[tuple[str, str]] = []
    i = 0
    while i < len(query):
        match = _TOKEN.match(query, i)
        assert match is not None
        kind, end = str(match.lastgroup), match.end()
        if kind == "comment":
            end = _comment_end(query, end)
        elif kind == "dollar":
            closing = query.find(match.group(), end)
            end = closing + len(match.group()) if closing >= 0 else -1
        end = len(query) if end < 0 else end
        found.append((kind, query[i:end]))
        i = end
    return found


def _words(query: str) -> list[str] | None:
    """Return the words and signs of an SQL text in lower case, without strings, quoted names and
    comments."""
    found: list[str] = []
    i = 0
    while i < len(query):
        match = _TOKEN.match(query, i)
        assert match is not None
        i = match.end()
        kind = match.lastgroup
        if kind == "comment":
            i = _comment_end(query, i)
        elif kind == "dollar":
            i = query.find(match.group(), i) + len(match.group())
            if i < match.end():
                return None
        elif kind == "other" and match.group() in "'\"":
            return None
        elif kind in ("word", "other"):
            found.append(match.group().lower())
        if i < 0:
            return None
    return found


def _comment_end(query: str, i: int) -> int:
    """The end of a comment that began before `i` (they nest), or -1."""
    depth = 1
    for match in re.finditer(r"/\*|\*/", query[i:]):
        depth += 1 if match.group() == "/*" else -1
        if depth == 0:
            return i + match.end()
    return -1
