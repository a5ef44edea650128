"""A broken contract is refused at the line that is wrong, by a stable code, with a hint that helps.

Each case is a contract with `#! CODE` at the end of the line where the finding must be.
"""

import re
from pathlib import Path

import pytest

from stores.contract.findings import CODES
from stores.contract.lint import lint_file, lint_text
from stores.contract.load import load_contract
from stores.errors import ContractError

HEAD = """\
apiVersion: v3.2.0
kind: DataContract
id: shop
version: 1.0.0
roles:
  - role: analyst
schema:
"""
ORDER = """\
  - name: order
    properties:
      - {name: number, logicalType: integer, primaryKey: true}
"""


def order(*properties: str, schema: str = "") -> str:
    """A contract of one sound type `order` with more properties, and more keys of the type."""
    lines = "".join(f"      - {p}\n" for p in properties)
    return HEAD + ORDER + lines + "".join(f"    {line}\n" for line in schema.splitlines())


def extension(name: str, value: str) -> str:
    return f"customProperties: [{{property: {name}, vendor: recordgate, value: {value}}}]"


CASES = {
    "syntax error": HEAD + ORDER + "  - name: [a\n  b: c  #! YAML_SYNTAX\n",
    "tab as indentation": HEAD + "\t- name: order  #! YAML_SYNTAX\n",
    "unknown alias": HEAD + ORDER + "tags: [*nowhere]  #! YAML_SYNTAX\n",
    "duplicate key": order() + "version: 2.0.0  #! YAML_DUPLICATE_KEY\n",
    "duplicate key, quoted": order() + "'version': 2.0.0  #! YAML_DUPLICATE_KEY\n",
    "python tag": order() + "name: !!python/object:os.system x  #! YAML_UNSUPPORTED\n",
    "merge key": order() + "description:\n  <<: {usage: x}  #! YAML_UNSUPPORTED\n",
    "key that is no text": order() + "description:\n  ? [a]  #! YAML_UNSUPPORTED\n  : b\n",
    "second document": order() + "---  #! YAML_UNSUPPORTED\na: b\n",
    "no kind": "apiVersion: v3.2.0  #! MISSING_KEY\nid: x\nversion: 1.0.0\n" + "schema:\n" + ORDER,
    "old version of the standard": order().replace("v3.2.0", "v2.2.2  #! API_VERSION"),
    "unknown version of the standard": order().replace("v3.2.0", "v9  #! SCHEMA"),
    "unknown key": order() + "scheme: []  #! UNKNOWN_KEY\n",
    "unknown key of a type": order(schema="propertys: []  #! UNKNOWN_KEY"),
    "unknown key of a property": order("{name: a, logicalType: string, requird: true}  #! UNKNOWN_KEY"),
    "unknown option": order(
        "{name: a, logicalType: string, logicalTypeOptions: {maxLenght: 3}}  #! UNKNOWN_KEY"
    ),
    "wrong type of a value": order("{name: a, logicalType: string, required: perhaps}  #! SCHEMA"),
    "schema that is no list": HEAD.replace("schema:\n", "schema: 5  #! SCHEMA\n"),
    "no types": HEAD.replace("schema:\n", "schema: []  #! EMPTY_SCHEMA\n"),
    "no properties": HEAD + "  - name: order  #! EMPTY_SCHEMA\n",
    "no key": HEAD + "  - name: order  #! NO_PRIMARY_KEY\n    properties:\n"
    "      - {name: a, logicalType: string}\n",
    "duplicate property": order("{name: a, logicalType: string}", "{name: A, logicalType: string}  #! DUPLICATE_NAME"),
    "duplicate column": order(
        "{name: a, logicalType: string}",
        "{name: b, physicalName: a, logicalType: string}  #! DUPLICATE_NAME",
    ),
    "duplicate GraphQL name": order(
        "{name: unit_price, logicalType: string, physicalName: x}",
        "{name: unitPrice, logicalType: string}  #! DUPLICATE_NAME",
    ),
    "duplicate id": order(
        "{name: a, id: x, logicalType: string}", "{name: b, id: x, logicalType: string}  #! DUPLICATE_ID"
    ),
    "duplicate type": HEAD + ORDER + ORDER.replace("name: order", "name: Order  #! DUPLICATE_NAME"),
    "duplicate table": HEAD + ORDER + ORDER.replace("name: order", "name: sale\n    physicalName: order").replace(
        "name: sale", "name: sale  #! DUPLICATE_NAME"
    ),
    "clash with a generated type": HEAD
    + ORDER
    + ORDER.replace("name: order", "name: orderConnection  #! DUPLICATE_NAME"),
    "clash with a generated field": HEAD
    + ORDER
    + ORDER.replace("name: order", "name: create_order  #! DUPLICATE_NAME"),
    "reserved type": HEAD + ORDER.replace("name: order", "name: query  #! RESERVED_NAME"),
    "reserved field": HEAD + ORDER.replace("name: order", "name: node  #! RESERVED_NAME"),
    "id that is not a key": order("{name: id, logicalType: string}  #! RESERVED_NAME"),
    "cursor": order("{name: cursor, logicalType: string}  #! RESERVED_NAME"),
    "filter word": order("{name: or, logicalType: string}  #! RESERVED_NAME"),
    "system column": order("{name: a, physicalName: xmin, logicalType: string}  #! RESERVED_NAME"),
    "platform's schema": order()
    + f"{extension('schema', 'recordgate')}  #! RESERVED_NAME\n",
    "quote in a name": order("""{name: 'a"; drop table x', logicalType: string}  #! BAD_NAME"""),
    "quote in a column": order("""{name: a, physicalName: 'a"b', logicalType: string}  #! BAD_NAME"""),
    "percent sign in a column": order("{name: a, physicalName: 'a%s', logicalType: string}  #! BAD_NAME"),
    "64 bytes": order(f"{{name: {'a' * 64}, logicalType: string}}  #! BAD_NAME"),
    "64 bytes in 32 characters": order(
        f"{{name: a, physicalName: {'ä' * 32}, logicalType: string}}  #! BAD_NAME"
    ),
    "control character in a name": order('{name: "a\\u0007", logicalType: string}  #! BAD_NAME'),
    "invisible character in a column": order(
        '{name: a, physicalName: "a\\u202eb", logicalType: string}  #! BAD_NAME'
    ),
    "unicode in a name": order("{name: größe, logicalType: string}  #! BAD_NAME"),
    "digit first": order("{name: 2nd, logicalType: string}  #! BAD_NAME"),
    "two underscores": order("{name: __type, logicalType: string}  #! BAD_NAME"),
    "only underscores": order("{name: _, logicalType: string}  #! BAD_NAME"),
    "dot in a managed table": HEAD
    + ORDER.replace("name: order", "name: order\n    physicalName: a.b  #! BAD_NAME"),
    "plural that is no name": order(schema=extension("plural", "'9 lives'") + "  #! BAD_NAME"),
    "no logicalType": order("{name: a, physicalType: text}  #! MISSING_TYPE"),
    "array of nothing": order("{name: a, logicalType: array}  #! MISSING_TYPE"),
    "unknown logicalType": order("{name: a, logicalType: strng}  #! UNSUPPORTED_TYPE"),
    "vector": order(
        "{name: a, logicalType: vector, logicalTypeOptions: {dimensions: 3}}  #! UNSUPPORTED_TYPE"
    ),
    "unknown physicalType": order(
        "{name: a, logicalType: string, physicalType: strnig}  #! UNKNOWN_PHYSICAL_TYPE"
    ),
    "physicalType that is an attack": order(
        "{name: a, logicalType: string, physicalType: 'text); drop table x; --'}  #! UNKNOWN_PHYSICAL_TYPE"
    ),
    "type of an extension": order(
        "{name: a, logicalType: string, physicalType: citext}  #! UNKNOWN_PHYSICAL_TYPE"
    ),
    "serial": order("{name: a, logicalType: integer, physicalType: serial}  #! UNKNOWN_PHYSICAL_TYPE"),
    "types that do not fit": order(
        "{name: a, logicalType: integer, physicalType: text}  #! TYPE_CONFLICT"
    ),
    "array type of a scalar": order(
        "{name: a, logicalType: string, physicalType: 'text[]'}  #! TYPE_CONFLICT"
    ),
    "fraction of an integer": order(
        "{name: a, logicalType: integer, physicalType: 'numeric(10,2)'}  #! TYPE_CONFLICT"
    ),
    "enum of another type": order(
        "{name: a, logicalType: integer, enum: [{value: one}]}  #! BAD_ENUM"
    ),
    "enum value too long": order(
        "{name: a, logicalType: string, logicalTypeOptions: {maxLength: 1}, enum: [{value: ab}]}  #! BAD_ENUM"
    ),
    "enum value twice": order(
        "{name: a, logicalType: string, enum: [{value: x, id: a}, {value: x, id: b}]}  #! BAD_ENUM"
    ),
    "bounds that contradict": order(
        "{name: a, logicalType: integer, logicalTypeOptions: {minimum: 5, maximum: 4}}  #! BAD_BOUND"
    ),
    "nothing between": order(
        "{name: a, logicalType: integer, logicalTypeOptions: {exclusiveMinimum: 5, maximum: 5}}  #! BAD_BOUND"
    ),
    "lengths that contradict": order(
        "{name: a, logicalType: string, logicalTypeOptions: {minLength: 5, maxLength: 4}}  #! BAD_BOUND"
    ),
    "bound out of the type": order(
        "{name: a, logicalType: integer, physicalType: smallint, logicalTypeOptions: {maximum: 70000}}  #! BAD_BOUND"
    ),
    "bound that is no date": order(
        "{name: a, logicalType: date, logicalTypeOptions: {minimum: 2024-02-30}}  #! BAD_BOUND"
    ),
    "fraction as a step of integers": order(
        "{name: a, logicalType: integer, logicalTypeOptions: {multipleOf: 0.5}}  #! BAD_BOUND"
    ),
    "bad regex": order(
        "{name: a, logicalType: string, logicalTypeOptions: {pattern: '([a-z]'}}  #! BAD_REGEX"
    ),
    "regex that looks behind": order(
        "{name: a, logicalType: string, logicalTypeOptions: {pattern: '(?<=a)b'}}  #! BAD_REGEX"
    ),
    "regex with a named group": order(
        "{name: a, logicalType: string, logicalTypeOptions: {pattern: '(?P<x>b)'}}  #! BAD_REGEX"
    ),
    "key of floating point": HEAD
    + "  - name: order\n    properties:\n      - {name: a, logicalType: number, primaryKey: true}  #! BAD_KEY\n",
    "key that may be missing": HEAD
    + "  - name: order\n    properties:\n"
    + "      - {name: a, logicalType: string, primaryKey: true, required: false}  #! BAD_KEY\n",
    "two keys in one place": HEAD
    + "  - name: order\n    properties:\n"
    + "      - {name: a, logicalType: string, primaryKey: true, primaryKeyPosition: 1}\n"
    + "      - {name: b, logicalType: string, primaryKey: true, primaryKeyPosition: 1}  #! BAD_KEY\n",
    "relationship to no type": order(
        "{name: a, logicalType: integer, relationships: [{to: custmer.id}]}  #! DANGLING_RELATIONSHIP"
    ),
    "relationship to no property": order(
        "{name: a, logicalType: integer, relationships: [{to: order.nmber}]}  #! DANGLING_RELATIONSHIP"
    ),
    "relationship to no id": order(
        "{name: a, logicalType: integer, relationships: [{to: schema/x/properties/y}]}  #! DANGLING_RELATIONSHIP"
    ),
    "relationship to another file": order(
        "{name: a, logicalType: integer, relationships: [{to: b.yaml#schema/x/properties/y}]}  #! DANGLING_RELATIONSHIP"
    ),
    "relationship to what is not unique": order(
        "{name: a, logicalType: integer, relationships: [{to: order.b}]}  #! NOT_UNIQUE",
        "{name: b, logicalType: integer}",
    ),
    "relationship of two types": order(
        "{name: a, logicalType: string, relationships: [{to: order.number}]}  #! RELATIONSHIP_TYPE"
    ),
    "relationship twice": order(
        "{name: a, logicalType: integer, relationships: [{to: order.number}, {to: order.number}]}  #! DUPLICATE_RELATIONSHIP"
    ),
    "relation named as a property": order(
        "{name: a, logicalType: integer, relationships: [{id: number, to: order.number}]}  #! DUPLICATE_NAME"
    ),
    "relationship to another product's type of a name that is made here": order(
        "{name: a, logicalType: integer, relationships: [{to:"
        " 'https://a.example/contract#order_filter.id'}]}  #! DUPLICATE_NAME"
    ),
    "relationship to another product's type of a reserved name": order(
        "{name: a, logicalType: integer, relationships: [{to:"
        " 'https://a.example/contract#page_info.id'}]}  #! DUPLICATE_NAME"
    ),
    "two operators": order(
        "{name: a, logicalType: string, quality: [{metric: nullValues, mustBe: 0, mustBeLessThan: 5}]}  #! TWO_OPERATORS"
    ),
    "no operator": order(
        "{name: a, logicalType: string, quality: [{metric: nullValues}]}  #! TWO_OPERATORS"
    ),
    "query that deletes": order(
        schema="quality: [{type: sql, query: 'DELETE FROM x', mustBe: 0}]  #! QUERY_NOT_SELECT"
    ),
    "query of two statements": order(
        schema="quality: [{type: sql, query: 'SELECT 1; DROP TABLE x', mustBe: 0}]  #! QUERY_NOT_SELECT"
    ),
    "query that deletes in a WITH": order(
        schema="quality: [{type: sql, query: 'WITH a AS (DELETE FROM x RETURNING 1) SELECT 1', mustBe: 0}]  #! QUERY_NOT_SELECT"
    ),
    "rule of text": order(schema="quality: [{type: text, description: good}]  #! NOT_MEASURED"),
    "rule of another tool": order(
        schema="quality: [{type: custom, engine: soda, implementation: x}]  #! NOT_MEASURED"
    ),
    "rule of another scheduler": order(
        schema="quality: [{metric: rowCount, mustBe: 0, schedule: daily, scheduler: airflow}]  #!"
               " NOT_MEASURED"
    ),
    "rule inside a JSON value": order(
        "{name: a, logicalType: object, properties: [{name: b, logicalType: string, quality:"
        " [{metric: nullValues, mustBe: 0}]}]}  #! NOT_MEASURED"
    ),
    "percentage of rowCount": order(
        schema="quality: [{metric: rowCount, unit: percent, mustBe: 5}]  #! BAD_RULE"
    ),
    "rowCount of a property": order(
        "{name: a, logicalType: string, quality: [{metric: rowCount, mustBe: 5}]}  #! BAD_RULE"
    ),
    "unit that is none": order(
        "{name: a, logicalType: string, quality: [{metric: nullValues, unit: pounds, mustBe: 5}]} "
        " #! BAD_RULE"
    ),
    "more than all": order(
        "{name: a, logicalType: string, quality: [{metric: nullValues, unit: percent,"
        " mustBeLessThan: 101}]}  #! BAD_RULE"
    ),
    "bound that is no number": order(
        "{name: a, logicalType: string, quality: [{metric: nullValues, mustBe: few}]}  #! BAD_RULE"
    ),
    "bound that is NaN": order(
        "{name: a, logicalType: string, quality: [{metric: nullValues, mustBe: .nan}]}  #! BAD_RULE"
    ),
    "between in the wrong order": order(
        schema="quality: [{metric: rowCount, mustBeBetween: [5, 1]}]  #! BAD_RULE"
    ),
    "rule on nothing": order(schema="quality: [{metric: nullValues, mustBe: 0}]  #! BAD_RULE"),
    "nothing to be valid against": order(
        "{name: a, logicalType: string, quality: [{metric: invalidValues, mustBeLessThan: 5}]}  #!"
        " BAD_RULE"
    ),
    "valid value of another type": order(
        "{name: a, logicalType: integer, quality: [{metric: invalidValues, arguments:"
        " {validValues: [x]}, mustBeLessThan: 5}]}  #! BAD_RULE"
    ),
    "missing value of a whole list": order(
        "{name: a, logicalType: array, items: {name: b, logicalType: string}, quality: [{metric:"
        " missingValues, arguments: {missingValues: [x]}, mustBe: 5}]}  #! BAD_RULE"
    ),
    "severity that is none": order(
        schema="quality: [{metric: rowCount, mustBe: 0, severity: awful}]  #! BAD_RULE"
    ),
    "placeholder that is none": order(
        schema="quality: [{type: sql, query: 'SELECT count(*) FROM {tabel}', mustBe: 0}]  #!"
               " BAD_RULE"
    ),
    "placeholder of a property in a rule of a type": order(
        schema="quality: [{type: sql, query: 'SELECT max(${column}) FROM ${table}', mustBe: 0}] "
               " #! BAD_RULE"
    ),
    "two rules with one id": order(
        schema="quality: [{id: a, metric: rowCount, mustBe: 0}, {id: a, metric: rowCount,"
               " mustNotBe: 1}]  #! DUPLICATE_ID"
    ),
    "cron beyond the clock": order(
        schema="quality: [{metric: rowCount, mustBe: 0, schedule: 99 99 * * *, scheduler: cron}] "
               " #! BAD_SCHEDULE"
    ),
    "cron that never fires": order(
        schema="quality: [{metric: rowCount, mustBe: 0, schedule: 0 0 31 2 *, scheduler: cron}] "
               " #! BAD_SCHEDULE"
    ),
    "gate of no severity": order(schema=extension("gate", "high") + "  #! BAD_EXTENSION"),
    "gate without a rule": order(schema=extension("gate", "error") + "  #! NOT_MEASURED"),
    "availability of a fruit": order()
    + "slaProperties: [{property: availability, value: banana}]  #! BAD_SLA\n",
    "more than always": order()
    + "slaProperties: [{property: av, value: 101, unit: percent}]  #! BAD_SLA\n",
    "time beyond the day": order()
    + 'slaProperties: [{property: timeOfAvailability, value: "25:99"}]  #! BAD_SLA\n',
    "day that is none": order()
    + "slaProperties: [{property: el, value: 2027-02-30}]  #! BAD_SLA\n",
    "response time without unit": order()
    + "slaProperties: [{property: responseTime, value: 200}]  #! BAD_SLA\n",
    "element that is not there": order()
    + "slaProperties: [{property: ly, value: 1, unit: d, element: ordr}]  #! BAD_SLA\n",
    "window of no days": order()
    + "slaProperties: [{property: availability, value: 99, customProperties: [{property: window, vendor: recordgate, value: 0d}]}]  #! BAD_SLA\n",
    "SLA that nothing measures": order()
    + "slaProperties: [{property: support, value: 24/7}]  #! NOT_MEASURED\n",
    "unknown SLA": order() + "slaProperties: [{property: freshnes, value: 5, unit: s}]  #! UNKNOWN_SLA\n",
    "SLA without unit": order() + "slaProperties: [{property: freshness, value: 5}]  #! BAD_SLA\n",
    "SLA in parsecs": order() + "slaProperties: [{property: latency, value: 5, unit: pc}]  #! BAD_SLA\n",
    "SLA that is no number": order()
    + "slaProperties: [{property: latency, value: soon, unit: s}]  #! BAD_SLA\n",
    "unknown extension": order(schema=extension("embeds", "[a]") + "  #! UNKNOWN_EXTENSION"),
    "extension in the wrong place": order(schema=extension("masking", "{}") + "  #! UNKNOWN_EXTENSION"),
    "plural that is a list": order(schema=extension("plural", "[a]") + "  #! BAD_EXTENSION"),
    "operation that is none": order(
        schema=extension("expose", "{operations: [read]}") + "  #! BAD_EXTENSION"
    ),
    "page limit of nothing": order(schema=extension("expose", "{pageLimit: 0}") + "  #! BAD_EXTENSION"),
    "a type's search that is none": order(schema=extension("search", "[a]") + "  #! BAD_EXTENSION"),
    "a group of one synonym": order(
        schema=extension("search", "{synonyms: [[a]]}") + "  #! BAD_EXTENSION"
    ),
    "a synonym that is a number": order(
        schema=extension("search", "{synonyms: [[a, 1]]}") + "  #! BAD_EXTENSION"
    ),
    "stop words that are none": order(
        schema=extension("search", "{stopWords: the}") + "  #! BAD_EXTENSION"
    ),
    "a word of search that is unknown": order(
        schema=extension("search", "{stopwords: []}") + "  #! BAD_EXTENSION"
    ),
    "boosted by what is not there": order(
        schema=extension("boostBy", "nowhere") + "  #! BAD_EXTENSION"
    ),
    "boosted by nothing": order(schema=extension("boostBy", "[id]") + "  #! BAD_EXTENSION"),
    "forgiveness that is no switch": order(
        f"{{name: a, logicalType: string, {extension('search', '{forgive: perhaps}')}}}  #!"
        f" BAD_EXTENSION"
    ),
    "forgiveness from two letters": order(
        f"{{name: a, logicalType: string, {extension('search', '{forgiveFrom: 2}')}}}  #!"
        f" BAD_EXTENSION"
    ),
    "boosted by a text": order(
        "{name: a, logicalType: string}",
        schema=extension("boostBy", "{property: a, weight: 2}") + "  #! BAD_EXTENSION",
    ),
    "generations of nothing": order(schema=extension("generations", "0") + "  #! BAD_EXTENSION"),
    "search that is true": order(
        f"{{name: a, logicalType: string, {extension('search', 'true')}}}  #! BAD_EXTENSION"
    ),
    "search with an unknown switch": order(
        f"{{name: a, logicalType: string, {extension('search', '{txt: true}')}}}  #! BAD_EXTENSION"
    ),
    "text search of a number": order(
        f"{{name: a, logicalType: integer, {extension('search', '{text: true}')}}}  #! BAD_EXTENSION"
    ),
    "unknown analyzer": order(
        f"{{name: a, logicalType: string, {extension('search', '{text: true, analyzer: klingon}')}}}  #! BAD_EXTENSION"
    ),
    "mask that is none": order(
        f"{{name: a, logicalType: string, {extension('masking', '{analyst: blur}')}}}  #! BAD_EXTENSION"
    ),
    "partial of a number": order(
        f"{{name: a, logicalType: integer, {extension('masking', '{analyst: {partial: {first: 1}}}')}}}  #! BAD_EXTENSION"
    ),
    "partial of less than nothing": order(
        f"{{name: a, logicalType: string, {extension('masking', '{analyst: {partial: {first: -1}}}')}}}  #! BAD_EXTENSION"
    ),
    "partial of a middle": order(
        f"{{name: a, logicalType: string, {extension('masking', '{analyst: {partial: {middle: 1}}}')}}}  #! BAD_EXTENSION"
    ),
    "roles of an operation that is none": order(
        schema=extension("expose", "{roles: {reads: [analyst]}}") + "  #! BAD_EXTENSION"
    ),
    "roles that are no list": order(
        schema=extension("expose", "{roles: {read: analyst}}") + "  #! BAD_EXTENSION"
    ),
    "an operation of an unknown role": order(
        schema=extension("expose", "{roles: {read: [nobody]}}") + "  #! UNKNOWN_ROLE"
    ),
    "hash of a number": order(
        f"{{name: a, logicalType: integer, {extension('masking', '{analyst: hash}')}}}  #! BAD_EXTENSION"
    ),
    "mask of an unknown role": order(
        f"{{name: a, logicalType: string, {extension('masking', '{analist: null}')}}}  #! UNKNOWN_ROLE"
    ),
    "readers of an unknown role": order(
        f"{{name: a, logicalType: string, {extension('readRoles', '[nobody]')}}}  #! UNKNOWN_ROLE"
    ),
    "row filter of an unknown role": order(
        schema=extension("rowFilter", "{nobody: {number: {eq: 1}}}") + "  #! UNKNOWN_ROLE"
    ),
    "row filter of no property": order(
        schema=extension("rowFilter", "{analyst: {nmber: {eq: 1}}}") + "  #! UNKNOWN_RELATION"
    ),
    "row filter with a null": order(
        schema=extension("rowFilter", "{analyst: {number: {eq: null}}}") + "  #! BAD_EXTENSION"
    ),
    "row filter of another type": order(
        schema=extension("rowFilter", "{analyst: {number: {eq: one}}}") + "  #! BAD_EXTENSION"
    ),
    "row filter of everything": order(schema=extension("rowFilter", "{analyst: {}}") + "  #! BAD_EXTENSION"),
    "embedding of no relation": order(schema=extension("embed", "[customer]") + "  #! UNKNOWN_RELATION"),
    "embedding of itself": order(
        "{name: parentNumber, logicalType: integer, relationships: [{id: parent, to: order.number}]}",
        schema=extension("embed", "[parent]") + "  #! EMBED_CYCLE",
    ),
    "cardinality that is none": order(
        "{name: a, logicalType: integer, relationships: [{id: x, to: order.number, "
        + extension("cardinality", "many-to-many")
        + "}]}  #! BAD_EXTENSION"
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_a_mistake_is_found_where_it_is(text: str) -> None:
    wanted = [
        (number, found.group(1))
        for number, line in enumerate(text.splitlines(), 1)
        if (found := re.search(r"#! (\w+)", line))
    ]
    assert len(wanted) == 1
    found = lint_text(text, "shop.yaml")
    assert [(f.line, f.code) for f in found] == wanted, "\n".join(map(str, found))
    finding = found[0]
    line = text.splitlines()[finding.line - 1]
    assert 1 <= finding.column <= len(line) + 1
    assert str(finding).startswith(f"shop.yaml:{finding.line}:{finding.column}: {finding.code}: ")
    assert finding.code in CODES


def test_the_cases_name_most_codes() -> None:
    named = {code for text in CASES.values() for code in re.findall(r"#! (\w+)", text)}
    elsewhere = {
        "FILE_UNREADABLE", "FILE_TOO_LARGE", "NOT_UTF8", "BAD_CHARACTER", "YAML_TOO_BIG",
        "EMBED_TOO_DEEP", "EMBED_HIDDEN_KEY", "MIXED_CONTRACTS", "SECRET_IN_CONTRACT",
    }  # fmt: skip
    assert named | elsewhere == set(CODES)


def test_all_mistakes_are_told_at_once() -> None:
    text = order(
        "{name: id, logicalType: string}",
        "{name: a, logicalType: string, physicalType: strnig}",
        "{name: b, logicalType: integer, relationships: [{to: nothing.id}]}",
    )
    assert {f.code for f in lint_text(text)} == {
        "RESERVED_NAME", "UNKNOWN_PHYSICAL_TYPE", "DANGLING_RELATIONSHIP",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (CASES["unknown key"], "did you mean 'schema'?"),
        (CASES["unknown extension"], "did you mean 'embed'?"),
        (CASES["extension in the wrong place"], "put it on a property"),
        (CASES["relationship to no property"], "did you mean 'number'?"),
        (CASES["unknown SLA"], "did you mean 'freshness'?"),
        (CASES["mask of an unknown role"], "did you mean 'analyst'?"),
        (CASES["search with an unknown switch"], "did you mean 'text'?"),
        (CASES["unknown logicalType"], "did you mean 'string'?"),
    ],
)
def test_a_hint_names_what_was_meant(text: str, hint: str) -> None:
    assert lint_text(text)[0].hint == hint


def test_an_extension_without_its_vendor_is_a_warning() -> None:
    text = order(
        "{name: a, logicalType: string, customProperties: [{property: masking, value: {}}]}"
    )
    (finding,) = lint_text(text)
    assert (finding.code, finding.severity) == ("UNKNOWN_EXTENSION", "warning")


def test_custom_properties_of_others_are_left_alone() -> None:
    other = "customProperties: [{property: whatever, vendor: soda, value: {a: [1]}}]"
    assert lint_text(order(schema=other)) == []


def test_embedding_too_deep(tmp_path: Path) -> None:
    def link(name: str, to: str) -> str:
        return (
            f"  - name: {name}\n    properties:\n"
            f"      - {{name: key, logicalType: integer, primaryKey: true}}\n"
            + (
                f"      - {{name: next, logicalType: integer, relationships: [{{to: {to}.key}}]}}\n"
                if to
                else ""
            )
        )

    chain = link("a", "b") + link("b", "c") + link("c", "d") + link("d", "e") + link("e", "")
    deep = HEAD + chain.replace(
        "- name: a\n", f"- name: a\n    {extension('embed', '[b.c.d.e]')}\n", 1
    )
    assert [f.code for f in lint_text(deep)] == ["EMBED_TOO_DEEP"]
    assert lint_text(deep.replace("b.c.d.e", "b.c.d")) == []


def test_a_broken_contract_never_loads(tmp_path: Path) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(CASES["no key"].replace("a, logicalType: string", "id, logicalType: string"))
    with pytest.raises(ContractError) as raised:
        load_contract(path)
    assert "NO_PRIMARY_KEY" in raised.value.message
    assert "and 1 more" in raised.value.message
    assert len(raised.value.findings) == 2
    assert raised.value.code == "CONTRACT_INVALID"


def test_a_file_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(order().encode() + "name: größe\n".encode("latin-1"))
    (tmp_path / "big.yaml").write_bytes(b"#" * 5_000_001)
    (tmp_path / "nul.yaml").write_bytes(b"id: x\nname: a\0b\n")
    (tmp_path / "empty.yaml").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    found = {
        name: [(f.code, f.line, f.column) for f in lint_file(tmp_path / name)]
        for name in ("latin.yaml", "big.yaml", "nul.yaml", "empty.yaml", "folder", "nowhere.yaml")
    }
    assert found == {
        "latin.yaml": [("NOT_UTF8", 11, 9)],
        "big.yaml": [("FILE_TOO_LARGE", 1, 1)],
        "nul.yaml": [("BAD_CHARACTER", 2, 8)],
        "empty.yaml": [("SCHEMA", 1, 1)],
        "folder": [("FILE_UNREADABLE", 1, 1)],
        "nowhere.yaml": [("FILE_UNREADABLE", 1, 1)],
    }


def test_every_code_is_documented() -> None:
    reference = (Path(__file__).parents[2] / "docs/reference/contract.md").read_text("utf-8")
    rows = re.findall(r"^\| `([A-Z_0-9]+)` \|", reference, re.MULTILINE)
    assert sorted(rows) == sorted(CODES)


@pytest.mark.parametrize(
    "embed", ["[parent]", '["child.parent"]', "[{relation: child, embed: [parent]}]"]
)
def test_an_embed_over_a_key_that_is_hidden_from_some_is_said(embed: str) -> None:
    text = (
        HEAD
        + f"""\
  - name: order
    {extension("embed", embed)}
    properties:
      - {{name: number, logicalType: integer, primaryKey: true}}
      - name: parentId
        logicalType: integer
        {extension("readRoles", "[analyst]")}
        relationships: [{{id: parent, to: firm.id}}]
      - {{name: childId, logicalType: integer, relationships: [{{id: child, to: branch.id}}]}}
  - name: branch
    properties:
      - {{name: id, logicalType: integer, primaryKey: true}}
      - name: firmId
        logicalType: integer
        {extension("readRoles", "[analyst]")}
        relationships: [{{id: parent, to: firm.id}}]
  - name: firm
    properties: [{{name: id, logicalType: integer, primaryKey: true}}]
"""
    )
    (finding,) = lint_text(text, "shop.yaml")
    assert (finding.code, finding.severity) == ("EMBED_HIDDEN_KEY", "warning")
    assert finding.line == text[: text.index("property: embed")].count("\n") + 1
