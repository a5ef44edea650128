"""The custom property `collect` of a schema: a contract's description of the source that a type's
records come from."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from stores.contract.extensions import suggestion, wrong
from stores.contract.json_paths import JsonPath, parse_path
from stores.contract.node import Node
from stores.contract.options import DELETED_BY, DRIFTS, OPTIONS, PAGED_BY, SECRETS


@dataclass(frozen=True, slots=True)
class Pages:
    """The paging of a source. `next` is the path in an answer to the address of the next page;
    `param` is the parameter that asks for a page; `total` is the path to the number of records
    there are."""

    by: str = "none"
    next: JsonPath | None = None
    param: str = ""
    size_param: str = ""
    size: int = 0
    start: int = 0
    total: JsonPath | None = None


@dataclass(frozen=True, slots=True)
class Auth:
    """`secrets`: the name of a part → where its value is, as `env:NAME` or `file:/path`; never the
    value."""

    by: str = "none"
    secrets: tuple[tuple[str, str], ...] = ()
    header: str = ""
    param: str = ""
    token_url: str = ""
    scope: str = ""

    def secret(self, name: str) -> str:
        return dict(self.secrets)[name]


@dataclass(frozen=True, slots=True)
class HttpSource:
    url: str
    records: JsonPath
    pages: Pages = Pages()
    auth: Auth = Auth()
    headers: tuple[tuple[str, str], ...] = ()
    requests_per_second: float = 0.0
    max_pages: int = 10_000
    max_bytes: int = 32 << 20
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class FileSource:
    """`path` may be a glob. `format` None: as each file's name says."""

    path: str
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Since:
    """A walk asks only for what changed: the largest `field` seen so far, less `overlap` seconds,
    as `param`."""

    field: JsonPath
    param: str
    overlap: float = 0.0


@dataclass(frozen=True, slots=True)
class Deletes:
    """`by`: `full` (what a whole walk did not have), `field` (`field` has `value`), `none`."""

    by: str = "none"
    every: float = 0.0
    field: JsonPath = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class Mapped:
    """One property that is filled from `path`, and how its value is cleaned."""

    property: str
    path: JsonPath
    trim: bool = False
    nulls: tuple[str, ...] = ()
    default: Any = None
    date_format: str = ""
    times: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """The reaction to records of another shape than before: `note`, `freeze` or `quarantine`."""

    added: str = "note"
    missing: str = "freeze"
    type: str = "quarantine"


@dataclass(frozen=True, slots=True)
class Collect:
    """One source of a type, named like the type. `definition`: the digest of all that it says."""

    kind: str
    definition: str
    http: HttpSource | None = None
    file: FileSource | None = None
    since: Since | None = None
    deletes: Deletes = Deletes()
    map: tuple[Mapped, ...] = ()
    every: float = 300.0
    stale_after: float = 0.0
    """Seconds after which the source is late; 0: three times `every`."""
    drift: Drift = field(default_factory=Drift)
    max_rejects: str = ""
    max_deletes: str = ""

    @property
    def late_after(self) -> float:
        return self.stale_after or max(60.0, 3 * self.every)


REFERENCE = re.compile(r"(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
LIMIT = re.compile(r"\d{1,9}|(100|\d{1,2}(\.\d+)?)%")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECRET_NAME = re.compile(r"(?i)(api[-_]?key|token|secret|passw|authorization|signature|cookie)")


def seconds_of(text: object) -> float | None:
    """`30s`, `5m`, `24h` in seconds; None where it is no duration."""
    found = DURATION.fullmatch(text) if isinstance(text, str) else None
    return float(found[1]) * _UNITS[found[2]] if found else None


def collect_value(at: Node | None, properties: dict[str, Any]) -> Collect | None:
    """The source that `collect` describes; what is wrong with it becomes findings. `properties`:
    those of the type."""
    if at is None:
        return None
    if not isinstance(at.data, dict):
        wrong(at, "`collect` must be a mapping", "docs/howto/collect.md shows one")
        return None
    _known(at, "collect", OPTIONS["collect"])
    kinds = [k for k in ("http", "file") if at.has(k)]
    if len(kinds) != 1:
        wrong(at, "`collect` names one source: `http` or `file`")
        return None
    kind = kinds[0]
    source = at.get(kind)
    drift = at.get("drift")
    _known(drift, "drift", OPTIONS["drift"])
    definition = json.dumps(at.data, sort_keys=True, default=str)
    mapped = [_mapped(name, node, properties) for name, node in at.get("map").entries()]
    collect = Collect(
        kind=kind,
        definition=hashlib.sha256(definition.encode()).hexdigest(),
        http=_http(source) if kind == "http" else None,
        file=_file(source) if kind == "file" else None,
        since=_since(at.get("since"), kind),
        deletes=_deletes(at.get("deletes"), kind),
        map=tuple(m for m in mapped if m),
        every=_seconds(at, "every", 300.0),
        stale_after=_seconds(at, "staleAfter", 0.0),
        drift=Drift(
            added=_one_of(drift, "added", DRIFTS, "note"),
            missing=_one_of(drift, "missing", DRIFTS, "freeze"),
            type=_one_of(drift, "type", DRIFTS, "quarantine"),
        ),
        max_rejects=_limit(at, "maxRejects"),
        max_deletes=_limit(at, "maxDeletes"),
    )
    if kind == "file" and any(_cleans(m) for m in collect.map):
        wrong(at.get("map"), "a file's columns are mapped by name alone", "PROPERTY: COLUMN")
    return collect


def _cleans(mapped: Mapped) -> bool:
    cleaned = mapped.trim or mapped.nulls or mapped.date_format or mapped.times
    return bool(cleaned) or mapped.default is not None or len(mapped.path) != 1


def _known(at: Node, where: str, names: tuple[str, ...]) -> None:
    for name, node in at.entries():
        if name not in names:
            wrong(node, f"`{where}` has no {name!r}", suggestion(name, names))


def _one_of(at: Node, name: str, values: tuple[str, ...], default: str) -> str:
    if not at.has(name):
        return default
    value = at.get(name).data
    if value not in values:
        wrong(at.get(name), f"`{name}` is one of {', '.join(values)}")
        return default
    return str(value)


def _seconds(at: Node, name: str, default: float) -> float:
    if not at.has(name):
        return default
    found = seconds_of(at.get(name).data)
    if found is None or not 0 < found <= 366 * 86400:
        wrong(at.get(name), f"`{name}` is a duration such as 30s, 5m, 24h")
        return default
    return found


def _whole(at: Node, name: str, default: int, low: int, high: int) -> int:
    if not at.has(name):
        return default
    value = at.get(name).data
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        wrong(at.get(name), f"`{name}` is a whole number from {low} to {high:,}")
        return default
    return value


def _limit(at: Node, name: str) -> str:
    if not at.has(name):
        return ""
    text = at.get(name).spelling
    if not LIMIT.fullmatch(text):
        wrong(at.get(name), f"`{name}` is a number of rows (100) or a share (5%)")
        return ""
    return text


def _path(at: Node, name: str) -> JsonPath | None:
    if not at.has(name):
        return None
    try:
        return parse_path(at.text(name))
    except ValueError as error:
        wrong(at.get(name), str(error))
        return None


def _http(at: Node) -> HttpSource:
    _known(at, "http", OPTIONS["http"])
    url, most = at.text("url"), at.get("atMost")
    _known(most, "atMost", OPTIONS["atMost"])
    _url(at.get("url"), url)
    headers: list[tuple[str, str]] = []
    for name, node in at.get("headers").entries():
        value = node.data if isinstance(node.data, str) else node.spelling
        if _SECRET_NAME.search(name):
            _secret_in_contract(node, f"the header {name}", "say it as `auth`, by env: or file:")
        elif not re.fullmatch(r"[A-Za-z0-9-]{1,100}", name) or not value.isprintable():
            wrong(node, f"{name!r} is not a header of one line")
        headers.append((name, value))
    rate = 0.0
    if most.has("requests"):
        found = re.fullmatch(r"(\d+)/(s|m|h)", most.text("requests"))
        if found is None or not int(found[1]):
            wrong(most.get("requests"), "`requests` is a rate such as 5/s, 100/m")
        else:
            rate = int(found[1]) / _UNITS[found[2]]
    return HttpSource(
        url,
        _path(at, "records") or (None,),
        _pages(at.get("pages")),
        _auth(at.get("auth")),
        tuple(headers),
        rate,
        _whole(most, "pages", 10_000, 1, 10_000_000),
        _whole(most, "bytes", 32 << 20, 1000, 1 << 30),
        _seconds(most, "timeout", 30.0),
    )


def _url(at: Node, url: str) -> None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        wrong(at, "`url` is an http or https URL")
        return
    if parts.username or parts.password:
        _secret_in_contract(at, "the URL", "say it as `auth`, by env: or file:")
    for name, _value in parse_qsl(parts.query, keep_blank_values=True):
        if _SECRET_NAME.search(name):
            _secret_in_contract(at, f"the URL's {name}", "say it as `auth: {by: apiKey, param: …}`")


def _secret_in_contract(at: Node, what: str, hint: str) -> None:
    at.report(
        "SECRET_IN_CONTRACT", f"{what} would hold a secret, and a contract is read by many", hint
    )


def _pages(at: Node) -> Pages:
    _known(at, "pages", OPTIONS["pages"])
    by = _one_of(at, "by", PAGED_BY, "none")
    pages = Pages(
        by,
        _path(at, "next"),
        at.text("param") or {"offset": "offset", "page": "page", "cursor": "cursor"}.get(by, ""),
        at.text("sizeParam"),
        _whole(at, "size", 0, 0, 1_000_000),
        _whole(at, "start", 1 if by == "page" else 0, 0, 1_000_000_000),
        _path(at, "total"),
    )
    if by in ("next", "cursor") and pages.next is None:
        wrong(at, f"pages by {by} need `next`: the path to what names the next page")
    if pages.size_param and not pages.size:
        wrong(at, "`sizeParam` needs `size`")
    return pages


def _auth(at: Node) -> Auth:
    _known(at, "auth", OPTIONS["auth"])
    by = _one_of(at, "by", tuple(SECRETS), "none")
    secrets: list[tuple[str, str]] = []
    for name in SECRETS[by]:
        text = at.text(name)
        shorthand = re.fullmatch(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", text)
        text = f"env:{shorthand[1]}" if shorthand else text
        if not REFERENCE.fullmatch(text):
            _secret_in_contract(
                at.get(name) if at.has(name) else at, f"`{name}`", "write env:NAME or file:/path"
            )
        secrets.append((name, text))
    url = at.text("tokenUrl")
    if by == "oauth2":
        _url(at.get("tokenUrl"), url)
    return Auth(by, tuple(secrets), at.text("header"), at.text("param"), url, at.text("scope"))


def _file(at: Node) -> FileSource:
    _known(at, "file", OPTIONS["file"])
    path = at.text("path")
    if not path or "\0" in path:
        wrong(at, "`file` needs `path`, a file or a glob")
    return FileSource(path, at.text("format") or None)


def _since(at: Node, kind: str) -> Since | None:
    if at.data is None:
        return None
    _known(at, "since", OPTIONS["since"])
    path, param = _path(at, "field"), at.text("param")
    if kind != "http" or not path or not param:
        wrong(at, "`since` is of an http source, with `field` and `param`")
        return None
    return Since(path, param, _seconds(at, "overlap", 0.0))


def _deletes(at: Node, kind: str) -> Deletes:
    if at.data is None:
        return Deletes()
    _known(at, "deletes", OPTIONS["deletes"])
    by = _one_of(at, "by", DELETED_BY, "none")
    named = at.get("field").entries()
    if by == "field" and (len(named) != 1 or kind == "file"):
        wrong(at, "deletes by field name one: `field: {deleted: true}`, of an http source")
        return Deletes()
    field_, value = ((named[0][0],), named[0][1].data) if by == "field" else ((), None)
    return Deletes(by, _seconds(at, "every", 0.0), field_, value)


def _mapped(name: str, at: Node, properties: dict[str, Any]) -> Mapped | None:
    if name not in properties:
        wrong(at, f"`map`: the type has no property {name!r}", suggestion(name, list(properties)))
        return None
    if isinstance(at.data, str):
        given: dict[str, Any] = {"from": at.data}
    elif isinstance(at.data, dict):
        _known(at, "map", OPTIONS["map"])
        given = at.data
    else:
        wrong(at, f"`map`: {name} is a path or a mapping with `from`")
        return None
    try:
        path = parse_path(str(given.get("from", name)))
    except ValueError as error:
        wrong(at, str(error))
        return None
    nulls = given.get("nulls", [])
    times = str(given.get("times", ""))
    if not isinstance(nulls, list) or (times and not re.fullmatch(r"-?\d+(\.\d+)?", times)):
        wrong(at, "`nulls` is a list of texts, `times` a number")
        return None
    return Mapped(
        name, path, given.get("trim") is True, tuple(str(n) for n in nulls), given.get("default"),
        str(given.get("date", "")), times,
    )  # fmt: skip
