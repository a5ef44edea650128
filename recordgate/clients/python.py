"""Writes a product's client for Python: types of its records and inputs, and methods that ask.

Every text of the contract leaves as a literal of Python; every name is one of GraphQL, which has
letters, digits and underscores only, and gets an underscore where Python or the module has it
already. The same schema gives the same text.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Iterator

from graphql.type import GraphQLType

from recordgate.clients.model import ClientModel, Member, Record, unwrapped

_SCALARS = {
    "ID": "str",
    "String": "str",
    "Boolean": "bool",
    "Int": "int",
    "Float": "float",
    "BigInt": "int | str",
    "JSON": "Any",
}
"""GraphQL's name → what JSON has for it; every other scalar is a text."""

_HEAD = '''\
"""{title}: a typed client, made by `recordgate client python`. Do not edit it: make it again.

Values are what JSON has: days, moments, decimals and UUIDs are texts. Needs httpx.
"""

# ruff: noqa
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypedDict, TypeVar

import httpx

T = TypeVar("T")


class RecordgateError(Exception):
    """The product refused what was asked. `code` is stable; `errors` are all of them."""

    def __init__(self, message: str, code: str, errors: list[Any]) -> None:
        super().__init__(f"{{code}}: {{message}}")
        self.message, self.code, self.errors = message, code, errors


@dataclass(frozen=True)
class Page(Generic[T]):
    """Some records, and where the next ones begin: `after` of the next call, None at the end."""

    nodes: list[T]
    after: str | None
'''
_CLIENT = '''

class Client:
    """Asks the gateway at `url`. `credential`: an API key or a JWT. What this client has written is
    in what it reads afterwards. Close it, or use it in a `with` block."""

    def __init__(
        self,
        url: str,
        credential: str | None = None,
        *,
        timeout: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
        self.token: str | None = None
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout, transport=transport
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the data of one GraphQL request. Raises RecordgateError, httpx.HTTPError."""
        given = {k: v for k, v in (variables or {}).items() if v is not None}
        headers = {"accept": "application/json"}
        if self.token is not None:
            headers |= {"recordgate-token": self.token, "recordgate-wait-up-to": "15s"}
        answer = self._http.post(
            "/graphql", json={"query": query, "variables": given}, headers=headers
        )
        try:
            body = answer.json()
        except ValueError:
            raise RecordgateError(f"HTTP {answer.status_code}", "INTERNAL", []) from None
        errors = body.get("errors") or []
        if errors:
            code = str((errors[0].get("extensions") or {}).get("code", "INTERNAL"))
            raise RecordgateError(str(errors[0].get("message")), code, errors)
        if answer.is_error:
            code = str(body.get("code", "INTERNAL"))
            raise RecordgateError(str(body.get("detail", answer.status_code)), code, [])
        self.token = answer.headers.get("recordgate-token", self.token)
        data: dict[str, Any] = body["data"]
        return data
'''
_OWN = frozenset(
    {
        *("Iterator", "Mapping", "dataclass", "Any", "Generic", "Literal", "TypedDict", "TypeVar"),
        *("httpx", "T", "RecordgateError", "Page", "Client", "annotations"),
        *dir(builtins),
    }
)
_OWN_METHODS = frozenset({"ask", "close", "token", "mro"})


def python_client(model: ClientModel, title: str) -> str:
    """Return the module's text."""
    types = _Names(_OWN)
    for name in [*model.enums, *model.inputs, *(r.name for r in model.records)]:
        types.take(name)
    parts = [_HEAD.format(title=_one_line(title))]
    for name, values in model.enums.items():
        parts.append(f"\n{types[name]} = Literal[{', '.join(map(ascii, values))}]\n")
    for name, members in model.inputs.items():
        parts.append(_typed_dict(types, name, members, required=False))
    for record in model.records:
        parts.append(_typed_dict(types, record.name, record.members, required=True))
        if record.description:
            parts.append(f"{record.description!a}\n")
    parts.append(_CLIENT)
    methods = _Names(_OWN_METHODS)
    for record in model.records:
        parts += _methods(record, types, methods)
    return "".join(parts)


class _Names:
    """Names of Python for names of GraphQL, each given once."""

    def __init__(self, taken: frozenset[str]) -> None:
        self._taken, self._given = set(taken), dict[str, str]()

    def take(self, name: str, wanted: str | None = None) -> str:
        found = wanted or name
        while found in self._taken or keyword.iskeyword(found) or keyword.issoftkeyword(found):
            found += "_"
        self._taken.add(found)
        self._given.setdefault(name, found)
        return found

    def __getitem__(self, name: str) -> str:
        return self._given[name]


def _typed_dict(types: _Names, name: str, members: tuple[Member, ...], *, required: bool) -> str:
    """Return a TypedDict in its form as a call: its keys may be any text."""
    lines = [f'\n{types[name]} = TypedDict(\n    "{types[name]}",\n    {{\n']
    for member in members:
        annotation = ascii(_annotation(member.type, types))
        lines.append(f"        {member.name!a}: {annotation},\n")
    total = "" if required else "    total=False,\n"
    lines.append(f"    }},\n{total})\n")
    return "".join(lines)


def _annotation(found: GraphQLType, types: _Names) -> str:
    optional, items, name = unwrapped(found)
    if items is not None:
        text = f"list[{_annotation(items, types)}]"
    elif name in types._given:
        text = types[name]
    else:
        text = _SCALARS.get(name, "str")
    return f"{text} | None" if optional and text != "Any" else text


def _snake(name: str) -> str:
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return parted.lower().lstrip("_") or "field"


def _one_line(text: str) -> str:
    """Return a text for the inside of a docstring: no quote, backslash or line end is left."""
    shown = "".join(c if c.isprintable() and c not in '"\\' else " " for c in text)
    return shown.encode("ascii", "replace").decode().strip() or "A product"


def _methods(record: Record, types: _Names, methods: _Names) -> Iterator[str]:
    fields = " ".join(m.name for m in record.members)
    kind = types[record.name]

    def name_of(root: str) -> str:
        return methods.take(f"{record.name}.{root}", _snake(root))

    if record.get:
        query = f"query($id: ID!) {{ found: {record.get}(id: $id) {{ {fields} }} }}"
        yield _method(
            name_of(record.get),
            "id: str",
            f"{kind} | None",
            "Return the record of a key, None where there is none.",
            [f"data = self.ask({query!a}, {{'id': id}})"],
            "data['found']",
        )
    if record.list:
        yield from _paged(record, record.list, kind, types, name_of, fields, search=False)
    if record.search:
        yield from _paged(record, record.search, kind, types, name_of, fields, search=True)
    for root, argument, given in (
        (record.create, "$input", record.input),
        (record.update, "$input", record.patch),
    ):
        if root and record.shown:
            keyed = root == record.update
            head = "$id: ID!, " if keyed else ""
            arguments = ("id: $id, " if keyed else "") + f"input: {argument}"
            query = (
                f"mutation({head}$input: {given}!) {{ done: {root}({arguments})"
                f" {{ shown: {record.shown} {{ {fields} }} }} }}"
            )
            yield _method(
                name_of(root),
                ("id: str, " if keyed else "") + f"input: {types[given]}",
                kind,
                "Write one record, and return it as it is now.",
                [
                    f"data = self.ask({query!a},"
                    f" {{{chr(39) + 'id' + chr(39) + ': id, ' if keyed else ''}'input': input}})"
                ],
                "data['done']['shown']",
            )
    if record.upsert:
        query = (
            f"mutation($input: [{record.input}!]!)"
            f" {{ done: {record.upsert}(input: $input) {{ token }} }}"
        )
        yield _method(
            name_of(record.upsert),
            f"input: list[{types[record.input]}]",
            "None",
            "Write records, those that are there and new ones.",
            [f"self.ask({query!a}, {{'input': input}})"],
            "",
        )
    if record.delete:
        query = f"mutation($id: ID!) {{ done: {record.delete}(id: $id) {{ token }} }}"
        yield _method(
            name_of(record.delete),
            "id: str",
            "None",
            "Delete the record of a key.",
            [f"self.ask({query!a}, {{'id': id}})"],
            "",
        )


def _paged(
    record: Record,
    root: str,
    kind: str,
    types: _Names,
    name_of: Callable[[str], str],
    fields: str,
    *,
    search: bool,
) -> Iterator[str]:
    heads = [("first", "Int", "int"), ("after", "String", "str")]
    heads.insert(0, ("filter", record.filter, types[record.filter]))
    if not search:
        heads.insert(1, ("orderBy", f"[{record.order}!]", f"list[{types[record.order]}]"))
    variables = ", ".join(f"${n}: {t}" for n, t, _ in heads)
    arguments = ", ".join(f"{n}: ${n}" for n, _, _ in heads)
    if search:
        variables, arguments = f"$query: String!, {variables}", f"query: $query, {arguments}"
    query = (
        f"query({variables}) {{ found: {root}({arguments})"
        f" {{ nodes {{ {fields} }} pageInfo {{ hasNextPage endCursor }} }} }}"
    )
    keywords = ", ".join(f"{_snake(n)}: {t} | None = None" for n, _, t in heads)
    given = ", ".join(f"'{n}': {_snake(n)}" for n, _, _ in heads)
    first, also = ("query: str, ", "'query': query, ") if search else ("", "")
    name = name_of(root)
    yield _method(
        name,
        f"{first}*, {keywords}",
        f"Page[{kind}]",
        "Return the records that the words find, best first."
        if search
        else "Return records in an order, by key where none is given.",
        [
            f"data = self.ask({query!a}, {{{also}{given}}})",
            "page = data['found']['pageInfo']",
            "after = page['endCursor'] if page['hasNextPage'] else None",
        ],
        "Page(data['found']['nodes'], after)",
    )
    if not search:
        keywords = ", ".join(f"{_snake(n)}: {t} | None = None" for n, _, t in heads[:2])
        yield _method(
            name_of(f"all_{name}"),
            f"*, {keywords}, page: int = 500",
            f"Iterator[{kind}]",
            "Yield every record, page by page.",
            [
                "after: str | None = None",
                "while True:",
                f"    found = self.{name}(filter=filter, order_by=order_by, first=page,"
                " after=after)",
                "    yield from found.nodes",
                "    if found.after is None:",
                "        return",
                "    after = found.after",
            ],
            "",
        )


def _method(
    name: str, parameters: str, returned: str, told: str, body: list[str], result: str
) -> str:
    lines = [f"    def {name}(self, {parameters}) -> {returned}:", f'        """{told}"""']
    lines += [f"        {line}" for line in body]
    if result:
        lines += [f"        result: {returned} = {result}", "        return result"]
    return "\n" + "\n".join(lines) + "\n"
