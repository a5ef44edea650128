"""What a plan takes from processes that run with another contract, and in which order it is
safe."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from recordgate.live import Affected, affected, lines, order, refuse_to_break
from stores.canonical.live_needs import needs_of, taken_away
from stores.canonical.processes import Process
from stores.canonical.steps import Need, Phase, SchemaPlan, Step, needed
from stores.contract.model import Contract, Embed, RecordType, Relation, Scalar
from stores.contract.shape import contract_digest
from stores.errors import ConflictError, ContractError
from tests.conformance.store_contract import prop, record_type

ITEM = record_type(
    "item",
    (prop("id"), prop("name"), prop("size", Scalar.INT), prop("of")),
    ("id",),
    relations=(Relation("whole", "whole", "item", ("of",), ("id",), False, True, "parts"),),
)
WHOLE = replace(
    ITEM,
    relations=(*ITEM.relations, Relation("parts", "parts", "item", ("id",), ("of",), True, False, "whole")),
    embeds=(Embed("parts"),),
)  # fmt: skip
NOTE = record_type("note", (prop("id"),), ("id",))


def contract(*types: RecordType) -> Contract:
    return Contract("c", "C", "1", {t.name: t for t in types})


def without(name: str) -> RecordType:
    return replace(ITEM, properties=tuple(p for p in ITEM.properties if p.name != name))


def retyped(name: str, scalar: Scalar, sql_type: str) -> RecordType:
    new = prop(name, scalar, sql_type=sql_type)
    return replace(ITEM, properties=tuple(new if p.name == name else p for p in ITEM.properties))


def step(kind: str, table: str = "public.items", **more: object) -> Step:
    need = more.pop("need", Need.NEEDED)
    return Step(Phase.SCHEMA, kind, table, kind, need=need)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "after", "kinds", "taken"),
    [
        (contract(ITEM), contract(without("name")), ["drop_column"], ["column name of public.items is dropped"]),
        (contract(ITEM), contract(retyped("size", Scalar.STRING, "text")), ["alter_type"],
         ["column size of public.items becomes text"]),
        (contract(ITEM), contract(retyped("size", Scalar.BIGINT, "bigint")), ["alter_type"],
         ["column size of public.items becomes bigint"]),
        (contract(ITEM), contract(replace(ITEM, key=("id", "of"))), ["replace_key"],
         ["the key of public.items becomes (id, of)"]),
        (contract(WHOLE), contract(ITEM), ["replica_identity"], ["old rows of public.items are"
                                                                 " published only in part"]),
        # What adds, loosens or tightens takes nothing away.
        (contract(without("name")), contract(ITEM), ["add_column"], []),
        (contract(ITEM), contract(WHOLE), ["replica_identity"], []),
        (contract(ITEM), contract(ITEM, NOTE), ["create_table", "alter_publication"], []),
        (contract(ITEM), contract(ITEM), ["add_check", "drop_constraint", "set_not_null"], []),
        (contract(retyped("size", Scalar.STRING, "character varying(10)")),
         contract(retyped("size", Scalar.STRING, "text")), ["alter_type"], []),
        # Somebody has dropped it before: the plan adds something else.
        (contract(ITEM), contract(without("name")), ["add_column"], []),
    ],
)  # fmt: skip
def test_what_a_plan_takes_from_a_worker(
    before: Contract, after: Contract, kinds: list[str], taken: list[str]
) -> None:
    plan = SchemaPlan(tuple(step(kind) for kind in kinds))
    assert taken_away(plan, after, needs_of(before), "sync") == taken


def test_only_who_follows_changes_needs_them_told_and_published() -> None:
    narrower = SchemaPlan((step("replica_identity"),))
    fewer = SchemaPlan((step("alter_publication", ""),))
    for role, breaks in (("up", True), ("sync", True), ("serve", False)):
        assert bool(taken_away(narrower, contract(ITEM), needs_of(contract(WHOLE)), role)) == breaks
        assert (
            bool(taken_away(fewer, contract(ITEM), needs_of(contract(ITEM, NOTE)), role)) == breaks
        )
    dropped = SchemaPlan((step("drop_table", "public.notes, public.others"),))
    assert taken_away(dropped, contract(ITEM), needs_of(contract(ITEM, NOTE)), "serve") == [
        "table public.notes is dropped"
    ]


def process(of: Contract, role: str = "serve") -> Process:
    detail = {"needs": needs_of(of)}
    return Process(uuid.uuid4(), role, "host", 7, "1", of.version, contract_digest(of), detail, 0.0)


def test_the_order_is_said_and_what_would_break_is_refused() -> None:
    old, new = contract(ITEM), contract(without("name"))
    drops = SchemaPlan((step("drop_column", need=Need.SURPLUS),))
    adds = SchemaPlan((step("add_column"),))
    live = affected(drops, new, [process(new), process(old), process(new, "sync")])
    assert [a.process.contract_digest for a in live] == [contract_digest(old)]
    assert "restart the worker, then the gateways, with this contract" in order(drops, live)
    with pytest.raises(ConflictError, match="column name of public") as refused:
        refuse_to_break(drops, live)
    assert refused.value.detail_code == "LIVE_PROCESSES"
    assert "--break-live" in refused.value.hint
    assert any("serve on host, process 7" in line for line in lines(drops, live))
    assert "no order is safe" in order(SchemaPlan((*drops.steps, *adds.steps)), live)
    going_on = affected(adds, old, [process(new)])
    refuse_to_break(adds, going_on)
    assert order(adds, going_on).startswith("the safe order: `recordgate apply`, then")
    nobody: list[Affected] = []
    refuse_to_break(drops, nobody)
    assert order(drops, nobody) == ""
    assert lines(drops, nobody) == []


def test_a_surplus_and_a_rule_are_not_needed_to_run() -> None:
    steps = [step("a"), step("b", need=Need.RULE), step("c", need=Need.SURPLUS)]
    assert [s.kind for s in needed(steps, rules=True)] == ["a", "b"]
    assert [s.kind for s in needed(steps, rules=False)] == ["a"]


def test_a_contracts_digest_is_that_of_its_meaning() -> None:
    assert contract_digest(contract(ITEM)) == contract_digest(replace(contract(ITEM), source="x"))
    digests = {contract_digest(c) for c in (contract(ITEM), contract(WHOLE), contract(ITEM, NOTE))}
    assert len(digests) == 3
    kept = contract(ITEM)
    before = contract_digest(kept)
    assert kept.types["item"].by_name
    assert kept.slug
    assert contract_digest(kept) == before


@pytest.mark.parametrize("kind", ['"Shop"."Order State"', '"Shop".address[]', "app.mood", "inet"])
def test_a_type_of_the_application_is_needed_by_the_name_that_postgres_prints(kind: str) -> None:
    (table,) = needs_of(contract(retyped("name", Scalar.STRING, kind)))["tables"]
    assert table["columns"]["name"] == kind


def test_a_text_that_could_end_a_statement_is_no_type() -> None:
    with pytest.raises(ContractError):
        needs_of(contract(retyped("name", Scalar.STRING, 'text); DROP TABLE "x"')))
