"""The commands `ask` and `search`: one GraphQL query, one full-text search, from the shell."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote, urlencode

import orjson
import typer

from recordgate.cli.output import Exit, Invocation, emit, invocation, reported, say
from recordgate.cli.printable import one_line
from stores.errors import InputError, SetupError

if TYPE_CHECKING:
    from recordgate.asking import Question

Roles = Annotated[
    list[str] | None,
    typer.Option("--role", help="Role of the contract to ask as; repeat the option for several."),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        metavar="TOKEN",
        help="Freshness token of a write that the answer must know; a store is given --wait for"
        " it.",
    ),
]
Wait = Annotated[
    str, typer.Option(metavar="DURATION", help="How long to wait for --token: 500ms, 15s.")
]
Url = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Ask the gateway at this URL; default: the stores of the settings, without a gateway.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--credential-file",
        metavar="FILE",
        help="File whose first line is an API key or a JWT, sent to --url.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the whole answer as JSON.")]

SHOWN = 60
"""Characters of a value that a line of a hit shows."""
FIELDS = 5
"""Values of a record that a line of a hit shows."""


def register(app: typer.Typer) -> None:
    app.command("ask")(ask)
    app.command("search")(search)


def ask(
    ctx: typer.Context,
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="A GraphQL document; `-`: read from stdin.")
    ],
    role: Roles = None,
    token: Token = None,
    wait: Wait = "15s",
    variables: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Variables of the query, as one JSON object."),
    ] = None,
    url: Url = None,
    credential_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Send one GraphQL query and print its data; exit code 1 where the answer has errors."""
    from recordgate.asking import Question

    given = invocation(ctx)
    with reported(as_json=as_json):
        text = sys.stdin.read() if query == "-" else query
        body = {"query": text, "variables": _variables(variables)}
        question = Question("/graphql", body=body, headers=_headers(token, wait, credential_file))
        found = _answer(given, question, role or (), url, credential_file)
    emit(found if as_json else found.get("data"), as_json=True, text="")
    errors = found.get("errors") or []
    for error in errors:
        say(error_line(error))
    if errors:
        raise typer.Exit(Exit.FAILED)


def search(
    ctx: typer.Context,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="Record type to search.")],
    words: Annotated[list[str], typer.Argument(metavar="WORDS", help="Words to search for.")],
    first: Annotated[int, typer.Option(min=1, max=1000, help="Most hits to print.")] = 10,
    filter_: Annotated[
        str | None,
        typer.Option("--filter", metavar="JSON", help="Filter, as in GraphQL, as JSON."),
    ] = None,
    facets: Annotated[
        str | None, typer.Option(metavar="FIELD,…", help="Fields whose values are counted.")
    ] = None,
    role: Roles = None,
    token: Token = None,
    wait: Wait = "15s",
    url: Url = None,
    credential_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Search a type's records by words, and print the hits, best first."""
    from recordgate.asking import Question

    given = invocation(ctx)
    with reported(as_json=as_json):
        asked = {"q": " ".join(words), "first": str(first)}
        asked |= {k: v for k, v in (("filter", filter_), ("facets", facets)) if v}
        question = Question(
            f"/search/{quote(type_name, safe='')}",
            urlencode(asked),
            headers=_headers(token, wait, credential_file),
        )
        found = _answer(given, question, role or (), url, credential_file)
    emit(found, as_json=as_json, text=lambda: "\n".join(hit_lines(found)))


def _answer(
    given: Invocation,
    question: Question,
    roles: Sequence[str],
    url: str | None,
    credential_file: Path | None,
) -> dict[str, Any]:
    from recordgate.asking import ask_here, ask_there

    if url is None:
        if credential_file is not None:
            raise InputError("--credential-file is sent to a gateway", hint="name it by --url")
        settings = given.settings()
        contract = given.contract(settings)
        found = asyncio.run(ask_here(settings, contract, roles, question))
    else:
        if roles:
            raise InputError(
                "a gateway at --url takes no role by name",
                hint="--credential-file names a key or token that has the role",
            )
        found = ask_there(url, question)
    if not isinstance(found, dict):
        raise InputError("the answer is no object", hint="is --url the URL of a gateway?")
    return found


def _variables(text: str | None) -> dict[str, Any]:
    try:
        found = orjson.loads(text) if text is not None else {}
    except orjson.JSONDecodeError as error:
        raise InputError(f"--variables is not JSON: {error.msg}, at {error.pos}") from None
    if not isinstance(found, dict):
        raise InputError("--variables is not a JSON object", hint="""write it as '{"id": 1}'""")
    return found


def _headers(token: str | None, wait: str, credential_file: Path | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if token is not None:
        found |= {"recordgate-token": token, "recordgate-wait-up-to": wait}
    if credential_file is not None:
        found["authorization"] = f"Bearer {_credential(credential_file)}"
    for name, value in found.items():
        if not (value.isascii() and value.isprintable()):
            raise InputError(f"the value of {name} has characters that no header may have")
    return found


def _credential(path: Path) -> str:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SetupError(f"--credential-file {path} cannot be read: {reason}") from None
    if not lines or not lines[0].strip():
        raise SetupError(f"--credential-file {path} is empty")
    return lines[0].strip()


def error_line(error: Any) -> str:
    """Return one line of an error of GraphQL: its code, where it is, and what it says."""
    if not isinstance(error, dict):
        return f"error: {one_line(str(error))}"
    extensions = error.get("extensions") or {}
    code = extensions.get("code") if isinstance(extensions, dict) else None
    path = ".".join(str(p) for p in error.get("path") or ())
    where = f" at {path}" if path else ""
    line = f"error: {code or 'INTERNAL'}{where}: {error.get('message')}"
    hint = extensions.get("hint") if isinstance(extensions, dict) else None
    return one_line(line) + (f"\n  hint: {one_line(str(hint))}" if hint else "")


def hit_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each hit, then the facets, then how many there are."""
    hits = found.get("hits") or []
    for hit in hits:
        record = hit.get("record") or {}
        values = [
            f"{name}={one_line(_shown(value), SHOWN)}"
            for name, value in record.items()
            if value not in (None, "", [], {})
        ]
        yield "  ".join(values[:FIELDS])
    for name, buckets in (found.get("facets") or {}).items():
        counts = [f"{one_line(_shown(b['value']), SHOWN)} {b['count']}" for b in buckets]
        yield f"{name}: {', '.join(counts) or 'none'}"
    total = found.get("total")
    yield f"{len(hits)} of {total} found" if hits else "nothing found"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
