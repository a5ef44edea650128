"""The names of a record type's fields in GraphQL: those of the contract, but for a property that
would hide the record's own `id`."""

from __future__ import annotations

from stores.contract.model import Property, RecordType, Relation


def is_own_id(record_type: RecordType, prop: Property) -> bool:
    """Return whether the field `id` shows the property anyway: it is the only column of the key."""
    return prop.graphql == "id" and record_type.key == (prop.column,)


def field_of(record_type: RecordType, prop: Property) -> str:
    if prop.graphql == "id" and not is_own_id(record_type, prop):
        return "id_"
    return prop.graphql


def property_of(record_type: RecordType, name: str) -> Property | None:
    if name == "id_" and "id_" not in record_type.by_graphql:
        return record_type.by_graphql.get("id")
    found = record_type.by_graphql.get(name)
    return found if found is not None and field_of(record_type, found) == name else None


def version_field(record_type: RecordType) -> str:
    """The field that shows a record's version, beside the contract's own names."""
    taken = record_type.by_graphql.keys() | record_type.relation_by_graphql.keys()
    return "version" if "version" not in taken else "recordVersion"


def relation_of(record_type: RecordType, name: str) -> Relation | None:
    return record_type.relation_by_graphql.get(name)


def enum_name(name: str) -> str:
    """The name of an enum's value: GraphQL keeps three names from being one, and no name of a
    contract ends in an underscore."""
    return f"{name}_" if name in ("true", "false", "null") else name


def upper_first(name: str) -> str:
    """Return the name as it follows another word: `cities` → `Cities`, as in `searchCities`."""
    return name[:1].upper() + name[1:]


def camel_case(name: str) -> str:
    """Return the GraphQL name of what Python calls `name`: `country_code` → `countryCode`."""
    head, *rest = name.split("_")
    return head + "".join(upper_first(part) for part in rest)


def search_field(record_type: RecordType) -> str:
    """Return the root field that searches a type's records."""
    return f"search{upper_first(record_type.plural)}"


def suggest_field(record_type: RecordType) -> str:
    """Return the root field that completes the beginnings of words."""
    return f"suggest{upper_first(record_type.plural)}"
