"""The forms that a value is shown in to who may not see it plainly, the same whether Postgres makes
them or we do: HMAC-SHA256 under a secret key, or its first and last characters. Only text has such
a form; all else is null."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from psycopg import sql

from gateway.shape.visibility import Form
from stores.contract.model import Property, Scalar

if TYPE_CHECKING:
    from gateway.compiler.statement import Binder

STARS = "***"
LEAST_HIDDEN = 3
"""Characters that must remain hidden for any to be shown."""
_BLOCK = 64
"""Bytes that SHA-256 takes at once."""


@dataclass(frozen=True, slots=True)
class MaskKey:
    """The two keys that HMAC makes of its one (RFC 2104), as Postgres reads bytea: it has SHA-256
    built in, and HMAC in an extension only. Must not show in a log."""

    inner: str
    outer: str

    @classmethod
    def of(cls, secret: bytes) -> MaskKey:
        key = hmac.new(secret, b"mask", hashlib.sha256).digest().ljust(_BLOCK, b"\0")
        return cls(
            "\\x" + bytes(b ^ 0x36 for b in key).hex(), "\\x" + bytes(b ^ 0x5C for b in key).hex()
        )

    def __repr__(self) -> str:
        return "MaskKey(…)"


KeyBinder: TypeAlias = Callable[[], "tuple[sql.Composable, sql.Composable]"]
"""Binds a MaskKey's inner and outer key as bytea, where a statement needs them."""


def bound_by(binder: Binder, key: MaskKey | None) -> KeyBinder:
    """Binds `key` into a statement. Without one nothing can be shown hashed."""

    def bind() -> tuple[sql.Composable, sql.Composable]:
        assert key is not None, "no key to mask with"
        return binder.bind(key.inner, "bytea"), binder.bind(key.outer, "bytea")

    return bind


_SETTINGS = ("recordgate.mask_inner", "recordgate.mask_outer")
KEY_SET = "SELECT " + ", ".join(f"pg_catalog.set_config('{name}', %s, true)" for name in _SETTINGS)
"""A statement that gives the transaction the two keys, for `of_transaction`."""


def of_transaction() -> tuple[sql.Composable, sql.Composable]:
    """The keys as a statement without parameters takes them. Everybody may read the text of a
    statement that runs (`pg_stat_activity`), so that they must not be in it; a setting of ours is
    seen by its own session alone."""
    inner, outer = (
        sql.SQL(f"(SELECT pg_catalog.current_setting('{name}')::bytea)") for name in _SETTINGS
    )
    return inner, outer


def maskable(prop: Property) -> bool:
    return prop.scalar is Scalar.STRING and not prop.array


def masked_sql(
    prop: Property, column: sql.Composable, form: Form, key: KeyBinder
) -> sql.Composable | None:
    """The masked text, NULL for NULL; None where the value has no such form and is null."""
    if not maskable(prop):
        return None
    if form is Form.HASH:
        inner, outer = key()
        return sql.SQL(
            "encode(sha256({} || sha256({} || convert_to({}::text, 'UTF8'))), 'hex')"
        ).format(outer, inner, column)
    if form is Form.PARTIAL:
        first, last = prop.partial
        return sql.SQL(
            "CASE WHEN length({0}::text) >= {1} THEN left({0}::text, {2}) || {4} || "
            "right({0}::text, {3})"
            " WHEN {0} IS NOT NULL THEN {4} END"
        ).format(
            column,
            sql.Literal(first + last + LEAST_HIDDEN),
            sql.Literal(first),
            sql.Literal(last),
            sql.Literal(STARS),
        )
    return None


def masked(prop: Property, value: Any, form: Form, key: MaskKey) -> Any:
    """Return the value as `masked_sql` shows it; a plain value as it is."""
    if form is Form.PLAIN:
        return value
    if not isinstance(value, str) or not maskable(prop):
        return None
    if form is Form.HASH:
        inner = hashlib.sha256(bytes.fromhex(key.inner[2:]) + value.encode()).digest()
        return hashlib.sha256(bytes.fromhex(key.outer[2:]) + inner).hexdigest()
    if form is Form.PARTIAL:
        first, last = prop.partial
        if len(value) < first + last + LEAST_HIDDEN:
            return STARS
        return value[:first] + STARS + (value[-last:] if last else "")
    return None
