"""The custom properties of vendor recordgate: what each is named, where it stands, what it may
hold."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from stores.contract.model import Expose, Masking, Scalar, SearchOptions
from stores.contract.node import Node
from stores.contract.options import GROUPS, KNOWN, OPTIONS
from stores.contract.types import TypeOf

VENDOR = "recordgate"

LANGUAGES = (
    "arabic", "danish", "dutch", "english", "finnish", "french", "german", "greek", "hungarian",
    "italian", "norwegian", "portuguese", "romanian", "russian", "spanish", "swedish", "turkish",
)  # fmt: skip
ANALYZERS = ("standard", "keyword", *LANGUAGES)
MAX_BOOST = 1000.0
MAX_FORGIVE_FROM = 60
"""Characters: a longer word is never forgiven."""
MAX_PAGE = 10_000
MAX_GENERATIONS = 20
MAX_SHOWN = 100
"""Characters that a mask shows at either end."""


@dataclass(frozen=True, slots=True)
class Access:
    """The roles that the contract declares."""

    roles: tuple[str, ...]

    def known(self, at: Node, role: str) -> bool:
        if role in self.roles:
            return True
        near = difflib.get_close_matches(role, self.roles, 1)
        at.report(
            "UNKNOWN_ROLE",
            f"the contract has no role {role!r}",
            f"did you mean {near[0]!r}?" if near else "add it to `roles`",
            at_key=True,
        )
        return False


@dataclass(frozen=True, slots=True)
class PropertyExtensions:
    search: SearchOptions = field(default_factory=SearchOptions)
    masking: tuple[tuple[str, Masking], ...] = ()
    partial: tuple[int, int] = (1, 0)
    read_roles: tuple[str, ...] | None = None
    generated: bool = False


def extensions(node: Node, where: str) -> dict[str, Node]:
    """The values of recordgate's custom properties on `node`, by name; unknown ones are
    findings."""
    found: dict[str, Node] = {}
    for entry in node.items("customProperties"):
        if entry.text("vendor") != VENDOR:
            _forgotten_vendor(entry, where)
            continue
        name = entry.text("property")
        at = entry.get("property")
        if name not in KNOWN[where]:
            at.report(
                "UNKNOWN_EXTENSION",
                f"recordgate has no custom property {name!r} on a {where}",
                _suggest(name, where),
            )
        elif name in found:
            at.report("DUPLICATE_NAME", f"the custom property {name!r} is declared twice")
        else:
            found[name] = entry.get("value")
    return found


def _forgotten_vendor(entry: Node, where: str) -> None:
    """A word of ours without its vendor does nothing: dangerous where it should hide something."""
    name = entry.text("property")
    if not entry.text("vendor") and name in KNOWN[where]:
        entry.get("property").report(
            "UNKNOWN_EXTENSION",
            f"{name!r} has no effect without its vendor",
            "add `vendor: recordgate`",
            severity="warning",
        )


def _suggest(name: str, where: str) -> str:
    elsewhere = [w for w, names in KNOWN.items() if name in names]
    if elsewhere:
        return f"put it on a {elsewhere[0]}"
    return suggestion(name, KNOWN[where])


def suggestion(name: str, known: tuple[str, ...] | list[str]) -> str:
    """`did you mean …?`, or what there is."""
    folded = {k.lower(): k for k in known}
    near = difflib.get_close_matches(name.lower(), folded, 1, 0.6)
    return f"did you mean {folded[near[0]]!r}?" if near else f"known names: {', '.join(known)}"


def wrong(at: Node, message: str, hint: str = "") -> None:
    at.report("BAD_EXTENSION", message, hint)


def text_value(found: dict[str, Node], name: str) -> str:
    """The text of an extension; a finding where it is none."""
    at = found.get(name)
    if at is None:
        return ""
    if not isinstance(at.data, str) or not at.data:
        wrong(at, f"`{name}` must be text")
        return ""
    return at.data


def flag_value(found: dict[str, Node], name: str, default: bool) -> bool:
    at = found.get(name)
    if at is None:
        return default
    if not isinstance(at.data, bool):
        wrong(at, f"`{name}` must be true or false")
        return default
    return at.data


def number_value(at: Node, name: str, low: float, high: float, default: float) -> float:
    value = at.data
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        wrong(at, f"`{name}` must be a number from {low:g} to {high:g}")
        return default
    return value


def whole_value(at: Node, name: str, low: int, high: int, default: int) -> int:
    value = at.data
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        wrong(at, f"`{name}` must be a whole number from {low} to {high}")
        return default
    return value


def expose_value(at: Node | None, access: Access) -> Expose:
    """`expose: {operations: [get, list, …], pageLimit: 100, roles: {write: [editor]}}`."""
    plain = Expose()
    if at is None:
        return plain
    if not isinstance(at.data, dict):
        wrong(at, "`expose` must be a mapping", "expose: {operations: [get, list], pageLimit: 100}")
        return plain
    operations, limit, roles = plain.operations, plain.page_limit, plain.roles
    for key, value in at.entries():
        if key == "operations":
            named = [
                op for op in value if _one_of(op, tuple(sorted(plain.operations)), "operation")
            ]
            if not isinstance(value.data, list):
                wrong(value, "`operations` must be a list")
            operations = frozenset(op.data for op in named)
        elif key == "pageLimit":
            limit = whole_value(value, "pageLimit", 1, MAX_PAGE, plain.page_limit)
        elif key == "roles":
            roles = _roles_of_operations(value, access)
        else:
            unknown_key(value, "expose", key, OPTIONS["expose"])
    return Expose(operations, limit, roles)


def _roles_of_operations(at: Node, access: Access) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """operation → roles; one that is named itself counts for more than its group."""
    if not isinstance(at.data, dict):
        wrong(
            at, "`roles` must be a mapping from an operation to roles", "roles: {write: [editor]}"
        )
        return ()
    by_group: dict[str, tuple[str, ...]] = {}
    by_name: dict[str, tuple[str, ...]] = {}
    for key, value in at.entries():
        if key not in OPTIONS["expose.roles"]:
            unknown_key(value, "roles", key, OPTIONS["expose.roles"])
            continue
        if not isinstance(value.data, list):
            wrong(value, f"`{key}` must be a list of roles")
        # Roles that are unknown are findings; an empty list leaves the operation to nobody.
        roles = tuple(r.data for r in value if isinstance(r.data, str) and access.known(r, r.data))
        if key in GROUPS:
            by_group |= dict.fromkeys(GROUPS[key], roles)
        else:
            by_name[key] = roles
    return tuple((by_group | by_name).items())


def property_extensions(node: Node, kind: TypeOf, access: Access) -> PropertyExtensions:
    """search, masking, readRoles and generated of a property."""
    found = extensions(node, "property")
    read_roles: tuple[str, ...] | None = None
    if at := found.get("readRoles"):
        if not isinstance(at.data, list):
            wrong(at, "`readRoles` must be a list of roles")
        # Roles that are unknown are findings; an empty list hides the property from everybody.
        read_roles = tuple(
            r.data for r in at if isinstance(r.data, str) and access.known(r, r.data)
        )
    masking, partial = _masking(found.get("masking"), kind, access)
    return PropertyExtensions(
        search=_search(found.get("search"), kind),
        masking=masking,
        partial=partial,
        read_roles=read_roles,
        generated=flag_value(found, "generated", False),
    )


def _masking(
    at: Node | None, kind: TypeOf, access: Access
) -> tuple[tuple[tuple[str, Masking], ...], tuple[int, int]]:
    """The masks by role, and the characters that `partial` shows, which are the same for all
    roles."""
    plain = PropertyExtensions().partial
    if at is None:
        return (), plain
    if not isinstance(at.data, dict):
        wrong(at, "`masking` must be a mapping from a role to null, hash, partial or drop")
        return (), plain
    masks: list[tuple[str, Masking]] = []
    windows: list[tuple[int, int]] = []
    for role, value in at.entries():
        access.known(value, role)
        how = "null" if value.data is None else value.data
        if isinstance(how, dict) and list(how) == ["partial"]:
            windows.append(_window(value.get("partial")))
            how = "partial"
        elif how == "partial":
            windows.append(plain)
        if how not in tuple(Masking):
            wrong(value, f"no such mask: {how!r}", "null, hash, partial or drop")
            continue
        mask = Masking(how)
        if mask in (Masking.HASH, Masking.PARTIAL) and (
            kind.scalar is not Scalar.STRING or kind.array
        ):
            wrong(value, f"`{how}` masks text only", "use null or drop")
            continue
        masks.append((role, mask))
    if len(set(windows)) > 1:
        wrong(at, "`partial` must show the same characters to every role")
    return tuple(masks), windows[0] if windows else plain


def _window(at: Node) -> tuple[int, int]:
    """`{first: 2, last: 4}`; what is not there is 0."""
    if not isinstance(at.data, dict):
        wrong(at, "`partial` must be a mapping", "partial: {first: 1, last: 2}")
        return (0, 0)
    sizes = dict.fromkeys(OPTIONS["partial"], 0)
    for key, value in at.entries():
        if key in sizes:
            sizes[key] = whole_value(value, key, 0, MAX_SHOWN, 0)
        else:
            unknown_key(value, "partial", key, OPTIONS["partial"])
    return sizes["first"], sizes["last"]


_SEARCH: dict[str, Callable[[TypeOf], bool]] = {
    "text": lambda kind: kind.scalar is Scalar.STRING,
    "suggest": lambda kind: kind.scalar is Scalar.STRING,
    "facet": lambda kind: kind.scalar not in (Scalar.JSON, Scalar.BYTES),
    "sort": lambda kind: kind.scalar not in (Scalar.JSON, Scalar.BYTES) and not kind.array,
}
"""A switch of `search` → whether a property of that type can have it."""


def _search(at: Node | None, kind: TypeOf) -> SearchOptions:
    if at is None:
        return SearchOptions()
    if not isinstance(at.data, dict):
        wrong(at, "`search` must be a mapping", "search: {text: true}")
        return SearchOptions()
    options: dict[str, Any] = {}
    for key, value in at.entries():
        if key in _SEARCH:
            if not isinstance(value.data, bool):
                wrong(value, f"`{key}` must be true or false")
            elif value.data and not _SEARCH[key](kind):
                wrong(value, f"a property of type {kind.sql_type} cannot be used for `{key}`")
            else:
                options[key] = value.data
        elif key == "analyzer":
            if _one_of(value, ANALYZERS, "analyzer"):
                options[key] = value.data
        elif key == "boost":
            options[key] = float(number_value(value, "boost", 0.001, MAX_BOOST, 1.0))
        elif key == "forgive":
            if isinstance(value.data, bool):
                options["forgive"] = value.data
            else:
                wrong(value, "`forgive` must be true or false")
        elif key == "forgiveFrom":
            options["forgive_from"] = whole_value(value, key, 3, MAX_FORGIVE_FROM, 3)
        else:
            unknown_key(value, "search", key, OPTIONS["search"])
    return SearchOptions(**options)


def _one_of(at: Node, known: tuple[str, ...], what: str) -> bool:
    if isinstance(at.data, str) and at.data in known:
        return True
    wrong(at, f"no such {what}: {at.data!r}", suggestion(str(at.data), known))
    return False


def unknown_key(at: Node, where: str, key: str, known: tuple[str, ...]) -> None:
    at.report("BAD_EXTENSION", f"`{where}` has no `{key}`", suggestion(key, known), at_key=True)
