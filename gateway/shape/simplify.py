"""Takes out of a filter what holds always, or never. Pure."""

from __future__ import annotations

from stores.contract.model import Contract, Property, RecordType, Scalar
from stores.query import EVERYTHING, And, Compare, Filter, Not, Op, Or, Related

NOTHING = Or(())
"""The filter that holds of no record."""


def simplified(contract: Contract, record_type: RecordType, part: Filter) -> Filter:
    """A filter that selects the same records: EVERYTHING where `part` is seen to hold of all,
    NOTHING where of none. A filter can hold of all without being seen to: of values, only empty
    ones are reasoned about."""
    if isinstance(part, And | Or):
        return _several(contract, record_type, part)
    if isinstance(part, Not):
        below = simplified(contract, record_type, part.part)
        if below == EVERYTHING:
            return NOTHING
        if below == NOTHING:
            return EVERYTHING
        return below.part if isinstance(below, Not) else Not(below)
    if isinstance(part, Related):
        relation = record_type.relation_by_name[part.relation]
        target = contract.types[relation.target]
        below = simplified(contract, target, part.filter)
        if below == EVERYTHING and relation.required and not target.row_filter:
            return EVERYTHING
        return NOTHING if below == NOTHING else Related(part.relation, below)
    prop = record_type.by_name[part.property]
    return _compared(part, prop, required=prop.required or prop.column in record_type.key)


def _several(contract: Contract, record_type: RecordType, part: And | Or) -> Filter:
    """`And` and `Or` are each other's mirror: what one is empty of ends the other."""
    both = isinstance(part, And)
    neutral, ending = (EVERYTHING, NOTHING) if both else (NOTHING, EVERYTHING)
    parts: list[Filter] = []
    for one in part.parts:
        below = simplified(contract, record_type, one)
        if below == ending:
            return ending
        if isinstance(below, And if both else Or):
            parts += below.parts
        elif below != neutral:
            parts.append(below)
    if any(one.part in parts for one in parts if isinstance(one, Not)):
        return ending
    if len(parts) == 1:
        return parts[0]
    return And(tuple(parts)) if both else Or(tuple(parts))


def _compared(part: Compare, prop: Property, *, required: bool) -> Filter:
    """NaN and the infinities of a float read as missing, so that a required one can be."""
    if part.op is Op.IN and part.value == []:
        return NOTHING
    empty_text = part.value == "" and not prop.array
    if part.op is Op.IS_NULL:
        there = part.value is False
    elif (part.op is Op.NOT_IN and part.value == []) or (
        part.op in (Op.CONTAINS, Op.STARTS_WITH, Op.ENDS_WITH) and empty_text
    ):
        there = True
    else:
        return part
    if required and (prop.scalar is not Scalar.FLOAT or prop.array):
        return EVERYTHING if there else NOTHING
    missing = Compare(part.property, Op.IS_NULL, True)
    return Not(missing) if there else missing
