"""`lint --fix` mends what has one mending, keeps every other byte, and never changes what a sound
contract means."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner

from recordgate.cli.app import build
from recordgate.contract_files import fix_file
from stores.contract.drawing import as_mermaid, as_text
from stores.contract.fixing import fix_texts
from stores.contract.lint import check_texts, lint_text
from stores.contract.load import load_contract
from stores.contract.shape import contract_digest
from tests.unit.test_contract_lint import HEAD, ORDER, extension, order
from tests.unit.test_contract_schema import CONTRACTS, cookbook


def fixed(text: str) -> str:
    return fix_texts({"a.yaml": text}).texts["a.yaml"]


MENDED = {
    "key": ("{name: a, logicalType: string, requird: true}", "required: true"),
    "type": ("{name: a, logicalType: strng}", "logicalType: string"),
    "type of another system": ("{name: a, logicalType: int}", "logicalType: integer"),
    "enum": ("{name: a, logicalType: string, enum: [red, 'b, c']}", "enum: [{value: red}, {value:"
                                                                    " 'b, c'}]"),
    "type that the column says": ("{name: a, physicalType: text}", "logicalType: string,"
                                                                   " physicalType: text"),
    "extension": (
        "{name: a, logicalType: string, customProperties: [{property: serch, vendor: recordgate,"
        " value: {text: true}}]}",
        "property: search",
    ),
    "switch": (
        "{name: a, logicalType: string, customProperties: [{property: search, vendor: recordgate,"
        " value: {txt: true}}]}",
        "value: {text: true}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_a_mistake_with_one_mending_is_mended(name: str) -> None:
    wrong, right = MENDED[name]
    text = order(wrong)
    assert lint_text(text)
    after = fixed(text)
    assert lint_text(after) == []
    assert right in after
    assert fixed(after) == after


def test_mistakes_below_mistakes_are_mended_in_turn() -> None:
    text = order("{name: a, logicalType: strng, enum: [red]}").replace("kind: DataContract\n", "")
    done = fix_texts({"a.yaml": text.replace("properties:", "propertys:")})
    assert [f for f in done.findings if f.severity == "error"] == []
    assert {"kind: DataContract", "propertys", "strng", "red"} <= {
        word for fix in done.fixes for word in ("kind: DataContract", "propertys", "strng", "red")
        if word in fix.message
    }  # fmt: skip


GUESSES = (
    order(schema=extension("rowFilter", "{anlyst: {number: {eq: 1}}}")),
    order(schema=extension("rowFilter", "{analyst: {number: {gtt: 1}}}")),
    order(schema=extension("expose", "{roles: {wrte: [analyst]}}")),
    order(f"{{name: a, logicalType: string, {extension('readRoles', '[analist]')}}}"),
    order(f"{{name: a, logicalType: string, {extension('masking', '{analyst: hsh}')}}}"),
    order("{name: a, logicalType: integer, relationships: [{to: ordr.number}]}"),
)


@pytest.mark.parametrize("text", GUESSES)
def test_who_sees_what_and_what_points_where_is_never_guessed(text: str) -> None:
    assert fixed(text) == text


def test_a_word_without_its_vendor_stays_without_effect() -> None:
    """With its vendor it would mean something: that is for a person to say."""
    text = order(
        "{name: a, logicalType: string, customProperties: [{property: masking, value: {}}]}",
        schema=extension("plural", "orders"),
    )
    assert fixed(text) == text


@pytest.mark.parametrize("path", CONTRACTS, ids=lambda p: p.name)
def test_a_sound_contract_keeps_its_meaning_and_its_lines(path: Path) -> None:
    text = path.read_text("utf-8")
    done = fix_texts({str(path): text})
    after = done.texts[str(path)]
    before, now = check_texts({"a": text})[0], check_texts({"a": after})[0]
    assert before is not None
    assert now is not None
    assert contract_digest(before) == contract_digest(now)
    assert fixed(after) == after
    comments = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    assert comments == [line for line in after.splitlines() if line.lstrip().startswith("#")]


TWO = (
    HEAD
    + ORDER
    + """\
  # The lines of an order.
  - name: line   # one each
    properties:
      - {name: id, logicalType: integer, primaryKey: true}
      - name: number
        logicalType: integer
        relationships:
          - to: order.number  # its order
"""
)


def test_names_that_are_derived_are_written_down_below_what_they_are_of() -> None:
    after = fixed(TWO)
    assert TWO.splitlines() == [
        line.replace("id: order", "").strip("\n") for line in TWO.splitlines()
    ]
    assert "  - name: line   # one each\n    customProperties: [{property: plural" in after
    assert "- id: order\n            to: order.number  # its order\n" in after
    assert (
        "            customProperties: [{property: inverse, vendor: recordgate, value: lines}]"
        in after
    )


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_line_ends_byte_order_mark_mode_and_link_stay(
    tmp_path: Path, newline: str, mark: bytes
) -> None:
    file, link = tmp_path / "real.yaml", tmp_path / "link.yaml"
    file.write_bytes(mark + TWO.replace("\n", newline).encode())
    file.chmod(0o640)
    link.symlink_to(file)
    assert fix_file(link)
    assert link.is_symlink()
    raw = file.read_bytes()
    assert raw.startswith(mark + b"apiVersion")
    assert raw.count(b"\n") == raw.count(newline.encode())
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert fix_file(link) == []
    assert file.read_bytes() == raw
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.yaml", "real.yaml"]


def test_what_cannot_be_read_or_stands_twice_is_left(tmp_path: Path) -> None:
    for text in (
        "", "a: [", "# only a comment\n", order() + "version: 2.0.0\n", "- a\n", "5\n",
        "---\na: 1\n---\nb: 2\n",
        "x: &a [*a]\n", "schema: &s\n  - *s\n", "a: !!python/object:os.system x\n",
        "apiVersion: v3.2.0\n\tkind: x\n",
    ):  # fmt: skip
        file = tmp_path / "a.yaml"
        file.write_text(text)
        fix_file(file)
        assert file.read_text() == text or "kind" in file.read_text()
    assert fix_file(tmp_path / "nowhere.yaml") == []


def test_types_that_share_an_anchor_keep_their_meaning() -> None:
    text = HEAD + (
        "  - name: a\n    properties: &p\n      - {name: id, logicalType: integer, primaryKey:"
        " true}\n"
        "  - name: b\n    properties: *p\n"
    )
    after = fixed(text)
    before, now = check_texts({"a": text})[0], check_texts({"a": after})[0]
    assert before is not None
    assert now is not None
    assert contract_digest(before) == contract_digest(now)
    assert after.count("property: plural") == 2


def test_a_file_that_may_not_be_written_is_said_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(TWO)

    def refuses(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "replace", refuses)  # root may write everywhere
    done = CliRunner().invoke(build(), ["contract", "lint", "--fix", str(file)])
    assert done.exit_code == 1
    assert "a.yaml cannot be written: Permission denied" in done.stderr
    assert file.read_text() == TWO
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_shows_each_change_and_what_is_left(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(order("{name: a, logicalType: strng}", "{name: b, logicalType: vector}"))
    done = CliRunner().invoke(build(), ["contract", "lint", "--fix", str(file)])
    assert done.exit_code == 1
    assert f"{file}:11: 'strng' is written string (fixed)" in done.stdout
    assert "UNSUPPORTED_TYPE: b is a vector" in done.stdout


# Drawings -----------------------------------------------------------------------------------------


def test_a_contract_is_drawn_with_its_types_and_relations(tmp_path: Path) -> None:
    file = tmp_path / "festival.odcs.yaml"
    file.write_text(cookbook())
    contract = load_contract(file)
    text = as_text(contract)
    assert "  artist ──> artist, embedded" in text
    assert "  concerts ──< concert" in text
    assert "  homeTown ··> city of https://geo.example/contract" in text
    assert "one of rock|jazz|electronic, search: facet" in text
    drawn = as_mermaid(contract)
    assert drawn.startswith("erDiagram\n")
    assert '    T_manager |o--o| T_stage : "stage"' in drawn
    assert '    T_ticket }o--|| T_concert : "concert"' in drawn
    assert '    T_concert }o..o| T_artist : "artist"' in drawn
    assert "        date day PK\n" in drawn
    runner = CliRunner()
    assert runner.invoke(build(), ["contract", "show", str(file)]).stdout == text + "\n"
    shown = runner.invoke(
        build(), ["contract", "show", "--mermaid"], env={"RECORDGATE_CONTRACT": str(file)}
    )
    assert shown.stdout == drawn + "\n"
    schema = runner.invoke(build(), ["contract", "schema", "--output", str(tmp_path / "s.json")])
    assert schema.exit_code == 0
    again = runner.invoke(build(), ["contract", "schema", "--output", str(tmp_path / "s.json")])
    assert again.exit_code == 1
    assert "is there already" in again.stderr
