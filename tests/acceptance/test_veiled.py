"""What stands beside a record and may not be seen is not told when the record is written: not by a
constraint's message, not by the order in which a call is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.http.problems import outside
from gateway.shape.refusals import REFUSED, as_seen
from gateway.shape.visibility import Visibility
from stores.contract.load import load_contract
from stores.errors import ConstraintError, Told
from tests.acceptance.access_rig import bearer, keys_for, run, with_keys
from tests.acceptance.gateway_rig import Rig

VEILED = Path(__file__).parent / "veiled.odcs.yaml"
ROWS = """
INSERT INTO departments (code, open, name) VALUES ('pub', true, 'Library'), ('sec', false, 'Blacksite');
INSERT INTO mentors (id, name) VALUES (1, 'Mo');
INSERT INTO people (id, name, salary, email, department_code, mentor_id) VALUES
  (1, 'Ada', 91000, 'ada.quill@example.org', 'pub', 1), (2, 'Bob', 1, 'bob', 'pub', NULL),
  (3, 'Cyd', 1, 'cyd', 'sec', NULL), (4, 'Dot', 1, 'dot', 'pub', NULL);
INSERT INTO notes (id, text, person_id) VALUES (1, 'hidden', 2);
INSERT INTO badges (id, label, secret, person_id) VALUES (1, 'b', 's', 4);
"""
SPOKEN: list[tuple[str, str]] = [
    # hidden rows of the type itself
    ('createDepartment(input: {code: "sec", open: true})', "department.code: another record"),
    # hidden rows that are referred to
    ('createPerson(input: {id: 9, name: "xx", departmentCode:'
     ' "none"})', "person.departmentCode: the referenced record"),
    ('updatePerson(id: "1", input: {departmentCode:'
     ' "none"})', "person.departmentCode: the"
                                                               " referenced record"),
    ('upsertPeople(input: [{id: 1, name: "xx", departmentCode:'
     ' "none"}])', "person.departmentCode: the referenced record"),
    # a type that may not be read refers to it
    ('deletePerson(id: "2")', "note.personId: other records"),
    ('deletePeople(filter: {name: {eq: "Bob"}}, max: 1)', "note.personId: other records"),
]  # fmt: skip
OPEN: list[tuple[str, str]] = [
    # what both may see is told to both
    ('createPerson(input: {id: 1, name: "xx"})', "person.id: another record has the same value"),
    ('createPerson(input: {id: 9, name: "x"})', "person.name must have at least 2 characters"),
    ('deletePerson(id: "4")', "badge.personId: other records still reference"),
    ('createBadge(input: {id: 7, personId: 99})', "badge.personId: the referenced record"),
]  # fmt: skip


def test_a_broken_constraint_tells_only_of_what_the_caller_may_see(
    database: str, tmp_path: Path
) -> None:
    path, (hr, staff) = keys_for(tmp_path, ("hr",), ("staff",))

    async def refused(rig: Rig, key: str, field: str) -> dict[str, Any]:
        answer = await rig.graphql(f"mutation {{ it: {field} {{ token }} }}", headers=bearer(key))
        (error,) = answer["errors"]
        assert error["extensions"]["code"] == "CONSTRAINT_VIOLATION", answer
        return dict(error)

    async def go(rig: Rig) -> None:
        for field, message in SPOKEN:
            error = await refused(rig, staff, field)
            assert error["message"] == REFUSED, field
            assert error["extensions"] == {"code": "CONSTRAINT_VIOLATION"}, field
            assert message in (await refused(rig, hr, field))["message"]
        for field, message in OPEN:
            for key in (hr, staff):
                assert message in (await refused(rig, key, field))["message"], field
        several = '[{id: 20, name: "ok"}, {id: 21, name: "xx", departmentCode: "none"}]'
        answer = await rig.graphql(
            f"mutation {{ createPeople(input: {several}, onError: CONTINUE)"
            " { errors { index message field } } }",
            headers=bearer(staff),
        )
        assert answer["data"]["createPeople"]["errors"] == [
            {"index": 1, "message": REFUSED, "field": None}
        ]
        error = await refused(rig, staff, f"createPeople(input: {several.replace('20', '22')})")
        assert error["message"].endswith(REFUSED)
        assert error["extensions"]["rows"][0]["message"] == REFUSED

    run(database, tmp_path, go, with_keys(path), contract=VEILED, rows=ROWS)


def test_too_many_to_delete_is_said_before_anything_is_tried(database: str, tmp_path: Path) -> None:
    path, (staff,) = keys_for(tmp_path, ("staff",))

    async def go(rig: Rig) -> None:
        for names in (["Ada", "Bob"], ["Bob", "Ada"], ["Ada", "Cyd"], ["Bob", "Dot", "Ada"]):
            named = ", ".join(f'"{n}"' for n in names)
            answer = await rig.graphql(
                f"mutation {{ deletePeople(filter: {{name: {{in: [{named}]}}}}, max: 1) {{ count }} }}",
                headers=bearer(staff),
            )
            (error,) = answer["errors"]
            assert error["extensions"]["code"] == "LIMIT_EXCEEDED", names

    run(database, tmp_path, go, with_keys(path), contract=VEILED, rows=ROWS)


def test_what_canonical_refuses_by_itself_is_no_fault_of_ours(
    database: str, tmp_path: Path
) -> None:
    path, (hr,) = keys_for(tmp_path, ("hr",))

    async def go(rig: Rig) -> None:
        async def error(query: str) -> tuple[str, str]:
            (found,) = (await rig.graphql(query, headers=bearer(hr)))["errors"]
            assert "secret" not in str(found)
            return found["extensions"]["code"], found["message"]

        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(
                "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'secret: %', NEW.salary; END $$"
            )
            conn.execute(
                "CREATE TRIGGER no BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION no()"
            )
            query = 'mutation { updatePerson(id: "1", input: {name: "xx"}) { token } }'
            assert await error(query) == ("CONSTRAINT_VIOLATION", REFUSED)
            conn.execute("CREATE INDEX secret ON mentors (name)")
            long = "".join(chr(0x4E00 + (i * 7919) % 20000) for i in range(20_000))
            query = f'mutation {{ createMentor(input: {{id: 9, name: "{long}"}}) {{ token }} }}'
            assert (await error(query))[0] == "LIMIT_EXCEEDED"
            conn.execute("ALTER TABLE people RENAME COLUMN name TO secret")
            code, message = await error("{ people { nodes { name } } }")
            assert code == "STORE_UNAVAILABLE"
            assert "not configured" in message
            answer = await rig.client.get("/export/person", headers=bearer(hr))
            assert (answer.status_code, answer.json()["code"]) == (503, "STORE_UNAVAILABLE")

    run(database, tmp_path, go, with_keys(path), contract=VEILED, rows=ROWS)


@pytest.mark.parametrize(
    ("told", "roles", "seen"),
    [
        (None, (), True),
        (Told(known=False), ("hr",), False),
        (Told((("person", "name"),)), ("staff",), True),
        (Told((("person", "salary"),)), ("staff",), False),
        (Told((("person", "email"),)), ("staff",), False),
        (Told((("person", "name"), ("person", "salary"))), ("hr",), True),
        (Told((("person", "name"),)), (), True),
        (Told((("department", "code"),)), ("staff",), True),
        (Told((("department", "code"),), ("department",)), ("staff",), False),
        (Told((("department", "code"),), ("department",)), ("hr",), True),
        (Told((("note", "personId"),), ("note",)), ("staff",), False),
    ],
)
def test_a_refusal_is_veiled_where_any_part_of_it_is_hidden(
    told: Told | None, roles: tuple[str, ...], seen: bool
) -> None:
    error = ConstraintError("person.name: spoken", field="name", told=told)
    shown = as_seen(error, Visibility(load_contract(VEILED), frozenset(roles)))
    assert (shown is error) is seen
    if not seen:
        assert outside(shown).message == REFUSED
        assert outside(shown).extra == {}
