"""The rules that the gate of a type asks, and the cost of asking them. Pure."""

from __future__ import annotations

from stores.contract.model import RecordType
from stores.contract.promises import Rule, graver_or_equal


def gate_rules(record: RecordType) -> list[Rule]:
    """The rules that an import into the type must not break."""
    if not record.gate:
        return []
    return [rule for rule in record.rules if graver_or_equal(rule.severity, record.gate)]


def whole_type_rules(record: RecordType) -> list[Rule]:
    """Return the gate's rules that each import counts over the whole type."""
    return [rule for rule in gate_rules(record) if not rule.forbids_any]
