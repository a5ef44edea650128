"""A page of records as its address says it: words, conditions, order, page. Pure.

`/browse/city?q=paris&population.gte=1000&sort=-population&size=50&after=…`
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from gateway.browse.seen import Seen
from stores.contract.model import Property, Scalar
from stores.errors import InputError
from stores.query import Op

SIZES = (20, 50, 100)
_WHOLE = re.compile(r"[-+]?\d{1,40}\Z", re.ASCII)
_NUMBER = re.compile(r"[-+]?(\d{1,40}(\.\d{0,40})?|\.\d{1,40})(e[-+]?\d{1,3})?\Z", re.I | re.ASCII)
_KNOWN = ("q", "sort", "size", "after", "before", "field", "op", "value")
MOST_CONDITIONS = 20


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison; `text` is its operand as it was typed."""

    field: str
    op: Op
    text: str

    @property
    def parameter(self) -> tuple[str, str]:
        return f"{self.field}.{self.op.value}", self.text


@dataclass(frozen=True, slots=True)
class View:
    """A page of records. `sort`: fields, each with whether it descends; `added`: whether a
    condition of a form was added, so that the address is not yet the view's own."""

    type: str
    words: str = ""
    conditions: tuple[Condition, ...] = ()
    sort: tuple[tuple[str, bool], ...] = ()
    size: int = SIZES[0]
    after: str | None = None
    before: str | None = None
    added: bool = False

    def parameters(self) -> list[tuple[str, str]]:
        found = [("q", self.words)] if self.words else []
        found += [c.parameter for c in self.conditions]
        if self.sort:
            found.append(("sort", ",".join(f"-{n}" if down else n for n, down in self.sort)))
        if self.size != SIZES[0]:
            found.append(("size", str(self.size)))
        found += [(n, v) for n, v in (("after", self.after), ("before", self.before)) if v]
        return found

    @property
    def address(self) -> str:
        given = urlencode(self.parameters())
        return f"/browse/{quote(self.type, safe='')}" + (f"?{given}" if given else "")

    def at_start(self, **changes: Any) -> View:
        """Return the first page of a changed view."""
        return replace(self, **({"after": None, "before": None, "added": False} | changes))

    def without(self, condition: Condition) -> View:
        return self.at_start(conditions=tuple(c for c in self.conditions if c != condition))

    def with_(self, condition: Condition) -> View:
        kept = tuple(c for c in self.conditions if c != condition)
        return self.at_start(conditions=(*kept, condition))

    def sorted_by(self, field: str) -> View:
        """Return the view ordered by the field: upwards at first, downwards where it is so already,
        and no more at last."""
        if self.sort[:1] == ((field, False),):
            return self.at_start(sort=((field, True),))
        if self.sort[:1] == ((field, True),):
            return self.at_start(sort=())
        return self.at_start(sort=((field, False),))


def record_address(type_name: str, key: str) -> str:
    """Return the address of a record's page. A browser takes the segments `.` and `..` for itself,
    however they are written; a key that has them goes as a parameter."""
    head = f"/browse/{quote(type_name, safe='')}/"
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        return f"{head}?{urlencode({'key': key})}"
    return head + quote(key, safe="/,")


def read_view(seen: Seen, given: Iterable[tuple[str, str]]) -> View:
    """Return the view that an address asks for. Raises InputError, which says what is wrong."""
    most = seen.type.expose.page_limit
    found: dict[str, str] = {}
    conditions: list[Condition] = []
    for name, value in given:
        if len(conditions) > MOST_CONDITIONS:
            break
        if "." in name:
            field, _, op = name.partition(".")
            condition = _condition(seen, field, op, value)
            if condition not in conditions:
                conditions.append(condition)
        elif name not in _KNOWN:
            raise InputError(
                f"no parameter {name[:40]!r} is known",
                hint="a condition is written field.comparison=value, for example name.eq=Paris",
            )
        elif name in found:
            raise InputError(f"{name} is given twice", hint="give it once")
        else:
            found[name] = value
    added = bool(found.keys() & {"field", "op", "value"})
    if found.get("field"):
        condition = _condition(
            seen, found["field"], found.get("op") or Op.EQ.value, found.get("value", "")
        )
        if condition not in conditions:
            conditions.append(condition)
    if len(conditions) > MOST_CONDITIONS:
        raise InputError(f"the page takes at most {MOST_CONDITIONS} conditions")
    words = found.get("q", "").strip()
    if words and not seen.may_search:
        raise InputError(f"{seen.type.plural} cannot be searched by words", hint="use conditions")
    size = found.get("size") or str(SIZES[0])
    if not size.isascii() or not size.isdigit() or not 1 <= int(size[:9]) <= max(SIZES):
        raise InputError(f"size must be a number from 1 to {max(SIZES)}")
    searching = bool(words) or not seen.may("list")
    return View(
        seen.type.name,
        words,
        tuple(conditions),
        _sort(seen, found.get("sort", ""), searching=searching, lenient=added),
        min(int(size), most),
        found.get("after") or None,
        found.get("before") or None,
        added,
    )


def _one_of(names: Iterable[str]) -> str:
    """Return the hint that names what there is."""
    said = ", ".join(names)
    return f"one of {said}" if said else "leave it out: here is none"


def _sort(seen: Seen, text: str, *, searching: bool, lenient: bool) -> tuple[tuple[str, bool], ...]:
    """`lenient`: drop what cannot be ordered by, since a form sent it along with new words."""
    allowed = seen.sortable(searching=searching)
    steps: list[tuple[str, bool]] = []
    for part in filter(None, text.split(",")):
        name = part.removeprefix("-")
        if name in allowed:
            steps.append((name, part.startswith("-")))
        elif not lenient:
            raise InputError(f"{name[:80]!r} cannot be ordered by", hint=_one_of(allowed))
    return tuple(steps)


def _condition(seen: Seen, field: str, op: str, text: str) -> Condition:
    ops = seen.comparisons.get(field)
    if ops is None:
        raise InputError(
            f"{field[:80]!r} is no field to filter by",
            hint=_one_of(seen.comparisons),
        )
    named = next((o for o in ops if o.value == op), None)
    if named is None:
        raise InputError(
            f"{field} cannot be compared by {op[:40]!r}",
            hint=_one_of(o.value for o in ops),
        )
    condition = Condition(field, named, text)
    operand(seen, condition)
    return condition


def operand(seen: Seen, condition: Condition) -> Any:
    """Return the value that a condition compares with, as GraphQL takes it. Raises InputError."""
    prop = seen.prop(condition.field)
    assert prop is not None
    text, where = condition.text, f"{condition.field}.{condition.op.value}"
    if condition.op is Op.IS_NULL or prop.scalar is Scalar.BOOLEAN:
        if text not in ("true", "false"):
            raise InputError(f"{where} must be true or false")
        return text == "true"
    return _typed(prop, text.strip() if prop.scalar is not Scalar.STRING else text, where)


def _typed(prop: Property, text: str, where: str) -> Any:
    if prop.scalar in (Scalar.INT, Scalar.BIGINT):
        if not _WHOLE.match(text):
            raise InputError(f"{where} must be a whole number, not {text[:40]!r}")
        return int(text) if prop.scalar is Scalar.INT else text.removeprefix("+")
    if prop.scalar in (Scalar.FLOAT, Scalar.DECIMAL):
        if not _NUMBER.match(text):
            raise InputError(f"{where} must be a number, not {text[:40]!r}")
        return float(text) if prop.scalar is Scalar.FLOAT else text
    return text


def filter_of(seen: Seen, conditions: Iterable[Condition]) -> dict[str, Any] | None:
    """Return the filter as GraphQL and the export take it; None where there is none."""
    parts = [{c.field: {c.op.value: operand(seen, c)}} for c in conditions]
    if len(parts) < 2:
        return parts[0] if parts else None
    if len({c.field for c in conditions}) == len(parts):
        return {k: v for part in parts for k, v in part.items()}
    return {"and": parts}
