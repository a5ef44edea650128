"""No text makes the reader crash, hang or eat memory; what is read keeps its place and its
spelling."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.contract.lint import lint_file, lint_text
from stores.contract.yaml_source import MAX_DEPTH, SourceError, TextPosition, parse

GEONAMES = Path(__file__).parents[2] / "recordgate/demo/geonames.odcs.yaml"
GEONAMES_LINES = GEONAMES.read_text("utf-8").splitlines(keepends=True)


def test_scalars_follow_yaml_1_2() -> None:
    text = (
        "a: no\nb: on\nc: 2024-01-01\nd: true\ne: null\nf: 0x1F\ng: 1_000\nh: 1e3\ni: .inf\n"
        "j: '5'\nk: !!str 5\nl: 12:30:00\nm: 010\nn: ~\no: Yes\nversion: 1.10\nname: true\n"
    )
    assert parse(text, "x").data == {
        "a": "no", "b": "on", "c": "2024-01-01", "d": True, "e": None, "f": 31, "g": "1_000",
        "h": 1000.0, "i": float("inf"), "j": "5", "k": "5", "l": "12:30:00", "m": 10, "n": None,
        "o": "Yes", "version": "1.10", "name": True,
    }  # fmt: skip


def test_every_node_knows_its_place() -> None:
    source = parse("a:\n  - b: 1\n    c: [x,\n        y]\n", "x")
    assert source.value_place(("a", 0, "c", 1)) == TextPosition(4, 9)
    assert source.key_place(("a", 0, "c")) == TextPosition(3, 5)
    assert source.value_place(("a", 0, "nowhere", 7)) == TextPosition(2, 5)


def test_an_alias_is_read_and_a_bomb_is_refused() -> None:
    assert parse("a: &x [1]\nb: *x\n", "x").data == {"a": [1], "b": [1]}
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
    )
    start = time.monotonic()
    (finding,) = lint_text(bomb)
    assert finding.code == "YAML_TOO_BIG"
    assert time.monotonic() - start < 1


def test_an_alias_of_itself_is_refused() -> None:
    assert [f.code for f in lint_text("a: &x [*x]\n")] == ["YAML_SYNTAX"]


@pytest.mark.parametrize("text", ["[" * 100_000, "- " * 50_000, "{a: " * 30_000, "? " * 20_000])
def test_endless_nesting_is_refused(text: str) -> None:
    start = time.monotonic()
    (finding,) = lint_text(text)
    assert finding.code in ("YAML_TOO_BIG", "YAML_SYNTAX")
    assert time.monotonic() - start < 5


def test_depth_up_to_the_limit_is_read() -> None:
    assert parse("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1), "x").data is not None


def test_a_large_file_is_linted_in_time(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    head = "apiVersion: v3.2.0\nkind: DataContract\nid: x\nversion: '1'\nschema:\n"
    one = (
        "  - name: thing{i}\n    customProperties: [{{property: plural, vendor: recordgate, value: things{i}}}]\n"
        "    properties:\n      - {{name: id, logicalType: integer, primaryKey: true}}\n"
        + "".join(f"      - {{{{name: p{j}, logicalType: string}}}}\n" for j in range(10))
    )
    path.write_text(head + "".join(one.format(i=i) for i in range(100)))
    start = time.monotonic()
    assert lint_file(path) == []
    assert time.monotonic() - start < 20


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_findings_and_never_an_exception(text: str) -> None:
    found = lint_text(text)
    assert found
    assert all(f.line >= 1 and f.column >= 1 for f in found)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                """apiVersion kind id name version schema properties logicalType physicalType items
                primaryKey relationships to from quality query customProperties property vendor value
                enum logicalTypeOptions minimum pattern slaProperties roles role unit mustBe metric
                arguments embed rowFilter masking""".split()  # noqa: SIM905
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_any_structure_gives_findings_and_never_an_exception(value: object) -> None:
    assert lint_text(yaml.safe_dump(value, allow_unicode=True))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_contract_with_any_line_changed_is_linted_without_an_exception(
    data: st.DataObject,
) -> None:
    lines = list(GEONAMES_LINES)
    number = data.draw(st.integers(0, len(lines) - 1))
    replacement = data.draw(
        st.sampled_from(
            ["", "x\n", "  - 5\n", "      - name: [a]\n", "        logicalType: {}\n",
             "    properties: 7\n", "        relationships: [{to: 3}]\n", "        primaryKey: maybe\n",
             "        logicalTypeOptions: {minimum: [], pattern: 5, minLength: -1}\n",
             "        customProperties: [{property: search, vendor: recordgate, value: [[]]}]\n",
             "        quality: [5, {mustBe: {}}]\n", "        enum: [{value: {}}]\n"]
        )
    )  # fmt: skip
    lines[number] = replacement
    for finding in lint_text("".join(lines)):
        assert 1 <= finding.line <= len(lines) + 1


def test_bytes_that_are_no_text_are_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    for raw in (
        b"\xff\xfea\x00",
        b"\x80",
        b"a: \xf0\x28\x8c\x28",
        b"\xef\xbb\xbfid: x\n",
        bytes(range(256)),
    ):
        path.write_bytes(raw)
        assert lint_file(path)


def test_a_byte_order_mark_is_not_in_the_way() -> None:
    with pytest.raises(SourceError):
        parse("a: [", "x")
    assert parse("\ufeffa: 1\n", "x").data == {"a": 1}
