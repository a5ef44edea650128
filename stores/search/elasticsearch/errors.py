"""Elasticsearch's answers in our terms. Its reasons quote values of documents, so only the kind of
an error and the name of a field are ever shown."""

from __future__ import annotations

import re
from typing import Any

from stores.errors import StoreError, StoreLost, StoreRefused, StoreUnavailable

KIND = "elasticsearch"
RETRY_AFTER = 1.0
"""Seconds to wait where an overloaded server names none."""
_FIELD = re.compile(
    r"(?:parse field|dynamic introduction of|field) ?(?:=|of|name)? ?[\[\"]([^\]\"]{1,200})"
)


def kind_of_error(body: Any) -> str:
    """The type of the error in an answer's body, "" where there is none."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, dict):
        return str(error.get("type") or "")
    return ""


def unavailable(
    message: str, *, hint: str = "", retry_after: float | None = None
) -> StoreUnavailable:
    return StoreUnavailable(f"{KIND}: {message}", store=KIND, hint=hint, retry_after=retry_after)


def refused(message: str, *, hint: str = "") -> StoreRefused:
    return StoreRefused(f"{KIND}: {message}", store=KIND, hint=hint)


def lost(message: str, *, hint: str = "") -> StoreLost:
    return StoreLost(f"{KIND}: {message}", store=KIND, hint=hint)


def blocked() -> StoreUnavailable:
    return unavailable(
        "the index or the cluster is closed to writes by a block",
        hint=(
            "free disk space, then remove index.blocks.* and cluster.blocks.*; writing then"
            " continues by itself"
        ),
        retry_after=5.0,
    )


def index_gone(name: str) -> StoreLost:
    return lost(
        f"the index {name} is missing",
        hint="everything is reloaded from canonical",
    )


def generation_gone(names: str) -> StoreUnavailable:
    """Return the error for missing indexes of generations. Other indexes are intact, so only these
    are reloaded."""
    return unavailable(
        f"{names} was deleted or closed, or its alias removed, by another program",
        hint="its contents are reloaded from canonical",
    )


def taken(name: str) -> StoreLost:
    """A name that we need belongs to somebody else, whose data is not touched."""
    return StoreLost(
        f"{KIND}: {name} exists and was not created by recordgate",
        store=KIND,
        hint="delete it, or choose another prefix: elasticsearch://host:9200/PREFIX",
        foreign=True,
    )


def translate(status: int, kind: str, node: str, retry_after: float | None = None) -> StoreError:
    """The error for an answer that is not a success; `kind` is its error's type."""
    if kind == "cluster_block_exception":
        return blocked()
    if status == 429:
        return unavailable("the server is overloaded", retry_after=retry_after or RETRY_AFTER)
    if status == 401:
        return refused(
            f"{node} refuses the login",
            hint="check the user and password, or the API key, in the URL of `search`",
        )
    if status == 403:
        return refused(
            f"{node} denies the request to this user",
            hint="grant its role `monitor` on the cluster and `all` on the indexes of the prefix",
        )
    if status >= 500 or status == 408:
        return unavailable(f"{node} answers with status {status}", retry_after=retry_after)
    if kind == "media_type_header_exception":
        return refused(
            f"{node} is older than the installed client",
            hint=(
                "for a server of version 8.19 install the matching client: pip install"
                " 'elasticsearch[async]>=8.19,<9'"
            ),
        )
    return refused(f"{node} answers with status {status}" + (f", {kind}" if kind else ""))


_PRESSURE = re.compile(r"operation_bytes=(\d+), max_\w+=(\d+)")


def larger_than_the_server(error: Any) -> bool:
    """Return whether a rejection (429) is because the operation alone is larger than all that the
    server accepts at once (`indexing_pressure.memory.limit`, a tenth of its heap): then waiting
    does not help."""
    reason = str(error.get("reason") or "") if isinstance(error, dict) else ""
    found = _PRESSURE.search(reason)
    return found is not None and int(found[1]) > int(found[2])


def rejected_reason(error: Any) -> str:
    """Return why an item will never be taken, from its error: bounded, without values."""
    kind, fields = "unknown", []
    while isinstance(error, dict):
        kind = str(error.get("type") or kind)
        found = _FIELD.search(str(error.get("reason") or ""))
        if found:
            fields.append(found[1].partition(":")[0])
        error = error.get("caused_by")
    where = f" because of {fields[0]}" if fields else ""
    return f"the index refuses the document{where} ({kind})"[:300]
