"""The texts that a file's cell may have for a value of a type: one strict form each, and never a
word that Postgres would look up (`now`, `today`, `allballs`), a number in another notation
(`0x1F`, `1_000`, `J2451187`) or a part that it would drop without a word (the time in a date's
cell, the zone in that of a time stamp without one).

They are what stores.values takes from JSON and from URLs, and beside it what files are full of and
what loses nothing: blanks around the value, a midnight behind a date, NaN and the infinities, which
Postgres itself prints. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from psycopg import sql

from stores.contract.model import Property, Scalar

_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NOT_FINITE = r"[+-]?([iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])"
_DAY = r"[0-9]{4,7}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_MIDNIGHT = r"00:00(:00(\.0{1,9})?)?"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2}(:[0-9]{2})?)?)"
_FAR = r"( BC)?|-?infinity"


@dataclass(frozen=True, slots=True)
class TextForm:
    """`pattern` means the same to Postgres and to Python's `re`. `said`: what the text must be."""

    pattern: str
    said: str


_INTEGER = TextForm(r"[+-]?[0-9]+", "a whole number in decimal digits")
_FLOAT = TextForm(f"({_NUMBER}|{_NOT_FINITE})", "a number in decimal digits")
_DATE = TextForm(f"({_DAY}([T ]{_MIDNIGHT})?{_FAR})", "a date, YYYY-MM-DD, without a time")
_MOMENT = TextForm(
    f"({_DAY}([T ]{_CLOCK} ?{_ZONE}?)?{_FAR})", "a time stamp, YYYY-MM-DDTHH:MM:SS and its zone"
)
_LOCAL = TextForm(
    f"({_DAY}([T ]{_CLOCK})?{_FAR})", "a time stamp, YYYY-MM-DDTHH:MM:SS, without a zone"
)
_TIME = TextForm(f"({_CLOCK})", "a time of the day, HH:MM:SS")

_BY_TYPE = {
    "smallint": _INTEGER,
    "integer": _INTEGER,
    "bigint": _INTEGER,
    "real": _FLOAT,
    "double precision": _FLOAT,
    "numeric": _FLOAT,
    "boolean": TextForm(
        "([tT]([rR][uU][eE])?|[fF]([aA][lL][sS][eE])?|1|0)", "true or false (also t, f, 1, 0)"
    ),
    "date": _DATE,
    "timestamp with time zone": _MOMENT,
    "timestamp without time zone": _LOCAL,
    "time without time zone": _TIME,
    "uuid": TextForm("[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}", "a UUID"),
}
_BY_SCALAR = {
    Scalar.DATE: _DATE,
    Scalar.TIMESTAMP: _MOMENT,
    Scalar.DATETIME: _LOCAL,
    Scalar.TIME: _TIME,
}
"""Text forms for types that are not built into Postgres, such as a domain."""
_MODIFIER = re.compile(r"\(\d[\d,-]*\)")


def without_modifier(kind: str) -> str:
    """The type without its length or precision; a cast goes through that one, and 1e-40000 is a
    numeric(6,2) but no numeric. `character` alone would be one of the length 1, and `bit` too."""
    if '"' in kind:
        return kind
    bare = _MODIFIER.sub("", kind)
    if bare == kind:
        return kind
    head, array = (bare[:-2], "[]") if bare.endswith("[]") else (bare, "")
    return {"character": "bpchar", "bit": "bit varying"}.get(head, head) + array


def form_of(prop: Property, kind: str) -> TextForm | None:
    """Return the text form that a value (or an array's element) must have, or None if Postgres
    itself reads the type strictly. `kind` is the column's type as format_type prints it."""
    base = without_modifier(kind).removesuffix("[]")
    return _BY_TYPE.get(base) or _BY_SCALAR.get(prop.scalar)


def has_form(text: sql.Composable, form: TextForm, *, array: bool) -> sql.Composable:
    """The condition that a text has the form, NULL for NULL; of an array's literal, that each
    element has."""
    pattern = sql.Literal(rf"^\s*{form.pattern}\s*$")
    if not array:
        return sql.SQL("{} ~ {}").format(text, pattern)
    return sql.SQL(
        "CASE WHEN pg_input_is_valid({0}, 'text[]') THEN"
        " (SELECT coalesce(bool_and(e ~ {1}), true) FROM unnest({0}::text[]) AS u(e)) END"
    ).format(text, pattern)
