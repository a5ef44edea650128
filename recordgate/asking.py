"""Asks one question and returns the answer: of the product that the settings name, without a
gateway that runs, or of a gateway at a URL."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.types import ASGIApp, Message

from gateway.security.authenticate import Anonymous, Authenticator, Rules
from recordgate.settings import Settings
from stores.contract.model import Contract
from stores.errors import InputError, RecordgateError, SetupError, StoreUnavailable

LARGEST = 64 * 1024**2
"""Bytes of an answer that a command takes from a gateway."""


@dataclass(frozen=True, slots=True)
class Question:
    """A request: a GET where `body` is None, else a POST of it. `path` begins with a slash."""

    path: str
    query: str = ""
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def method(self) -> str:
        return "GET" if self.body is None else "POST"

    def content(self) -> bytes:
        return b"" if self.body is None else orjson.dumps(self.body)

    def all_headers(self) -> dict[str, str]:
        """Return the headers with those that say what is sent and wanted."""
        named = {"accept": "application/json"}
        if self.body is not None:
            named["content-type"] = "application/json"
        return {**named, **self.headers}


def as_caller(settings: Settings, contract: Contract, roles: Sequence[str]) -> Authenticator:
    """Return what takes the one who asks for a caller with `roles`, the settings' own roles of
    callers without credentials where none is named.

    Raises InputError for a role that the contract does not have, SetupError where the settings
    admit nobody without credentials and no role is named.
    """
    for role in roles:
        if role not in contract.roles:
            raise InputError(
                f"the contract has no role {role!r}",
                hint="one of " + (", ".join(contract.roles) or "none: add `roles` to it"),
            )
    introspection = frozenset(settings.introspection_roles)
    operators = frozenset(settings.operator_roles)
    if roles:
        writes = bool(set(roles) - set(contract.read_only_roles))
        anonymous = Anonymous.WRITE if writes else Anonymous.READ
        rules = Rules(anonymous, frozenset(roles), False, introspection, operators)
        return Authenticator(contract, rules)
    from recordgate.access import authenticator

    found = authenticator(settings, contract)
    if found.rules.anonymous is not Anonymous.NO:
        return found
    if contract.roles:
        raise SetupError(
            "the settings admit nobody without credentials",
            hint=f"name a role by --role: {', '.join(contract.roles)}",
        )
    rules = Rules(Anonymous.WRITE, frozenset(), False, introspection, operators)
    return Authenticator(contract, rules)


async def ask_here(
    settings: Settings, contract: Contract, roles: Sequence[str], question: Question
) -> Any:
    """Return the answer to `question` of this process' own view of canonical and the stores.

    Raises as a gateway that starts does, and RecordgateError where the answer is a problem.
    """
    from recordgate.runtime import Role, Runtime

    caller = as_caller(settings, contract, roles)
    async with Runtime(settings, contract, Role.ASK, authenticator=caller) as runtime:
        try:
            return understood(*await call(runtime.app, question))
        except RecordgateError as error:
            if error.detail_code == StoreUnavailable.code and not error.hint:
                error.hint = "`recordgate up` or `recordgate sync` loads the stores"
            raise


async def call(app: ASGIApp, question: Question) -> tuple[int, bytes]:
    """Return the status and the body with which an ASGI application answers."""
    status, parts = 500, list[bytes]()
    waiting = [question.content()]

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    headers = question.all_headers() | {"host": "localhost"}
    await app(
        {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": question.method,
            "scheme": "http",
            "path": question.path,
            "raw_path": question.path.encode(),
            "query_string": question.query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items()],
            "client": ("127.0.0.1", 0),
            "server": ("localhost", 80),
            "state": {},
        },
        receive,
        send,
    )
    return status, b"".join(parts)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it would carry the credential elsewhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask_there(url: str, question: Question, *, timeout: float = 60) -> Any:
    """Return the answer of the gateway at `url`.

    Raises InputError for a URL that is none, StoreUnavailable where nothing answers, and
    RecordgateError where the answer is a problem or no answer of a gateway.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username is not None:
        raise InputError(
            "--url is not the URL of a gateway", hint="write it as http://host:8080, nothing after"
        )
    path = question.path + (f"?{question.query}" if question.query else "")
    request = urllib.request.Request(
        f"{url.rstrip('/')}{path}",
        None if question.body is None else question.content(),
        question.all_headers(),
        method=question.method,
    )
    opener = urllib.request.build_opener(_NoRedirects)
    try:
        with opener.open(request, timeout=timeout) as response:
            status, body = response.status, response.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise StoreUnavailable(
            f"no gateway answers at {url}: {reason}",
            store="gateway",
            hint="start one by `recordgate up`, or leave --url out",
        ) from None
    if len(body) > LARGEST:
        raise RecordgateError(
            f"the answer is longer than {LARGEST:,} bytes", hint="ask for fewer records"
        )
    return understood(status, body)


def understood(status: int, body: bytes) -> Any:
    """Return the JSON of an answer. Raises RecordgateError for a problem, with its code, and for
    what is no JSON."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RecordgateError(
            f"the answer is no JSON (HTTP {status})", hint="is this the URL of a gateway?"
        ) from None
    if status >= 400 and not (isinstance(found, dict) and "errors" in found):
        named = found if isinstance(found, dict) else {}
        told = str(named.get("detail") or named.get("title") or f"HTTP {status}")
        code = str(named.get("code") or "INTERNAL")
        raise RecordgateError(told, hint=str(named.get("hint") or ""), code=code)
    return found
