"""The order in which a contract takes the place of another, told from how things stand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from recordgate.migrating import Consent, require_consent
from recordgate.migration_order import Stage, Standing, adds, as_json, order, told
from recordgate.store_needs import Need as Load
from stores.canonical.live_needs import needs_of
from stores.canonical.processes import Process, Reloaded
from stores.canonical.steps import Need, Phase, SchemaPlan, Step
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.contract.shape import contract_digest
from stores.errors import ConflictError, InputError, SetupError
from tests.acceptance.test_live_processes import HEAD, NAME, SIZE, SIZE_TEXT

ADD = Step(Phase.ADD_COLUMNS, "add_column", "public.things", "add column area")
DROP = Step(
    Phase.DROP_COLUMNS, "drop_column", "public.things", "drop column size", destructive=True,
    need=Need.SURPLUS,
)  # fmt: skip
RETYPE = Step(
    Phase.ALTER_COLUMNS, "alter_type", "public.things", "make size text", destructive=True
)
RULE = Step(Phase.DROP_RULES, "drop_constraint", "public.things", "drop a check", need=Need.SURPLUS)
NARROW = Step(Phase.PUBLICATION, "alter_publication", "public.notes", "less", need=Need.SURPLUS)
WIDEN = Step(Phase.PUBLICATION, "alter_publication", "public.notes", "more")
RELOAD = Load("search", "thing", "reload")


def contract(folder: Path, *parts: str) -> Contract:
    file = folder / "things.odcs.yaml"
    file.write_text(HEAD.format(version="1.0.0") + "".join(parts))
    return load_contract(file)


def process(role: str, had: Contract, *, reloads: bool = True) -> Process:
    detail: dict[str, Any] = {"needs": needs_of(had)}
    if reloads:
        detail["reload"] = Reloaded().as_json()
    digest = contract_digest(had)
    return Process(uuid4(), role, "far", 7, "0.2.0", had.version, digest, detail, time.time())


@pytest.fixture
def before(tmp_path: Path) -> Contract:
    return contract(tmp_path, NAME, SIZE)


def standing(new: Contract, *alive: Process, steps: tuple[Step, ...] = ()) -> Standing:
    return Standing(SchemaPlan(steps), new, alive, (RELOAD, Load("search", "old", "drop")))


def test_what_adds_comes_first_and_what_takes_away_last(before: Contract, tmp_path: Path) -> None:
    assert [adds(s) for s in (ADD, RETYPE, RULE, WIDEN, DROP, NARROW)] == [True] * 4 + [False] * 2
    new = contract(tmp_path, NAME)
    found = standing(
        new, process("sync", before), process("serve", before), process("serve", new),
        steps=(ADD, DROP, RULE),
    )  # fmt: skip
    assert order(found) == [
        Stage.ADD, Stage.WORKERS, Stage.LOAD, Stage.GATEWAYS, Stage.TAKE_AWAY,
    ]  # fmt: skip
    assert found.broken == []
    text = list(told(found))
    assert [line for line in text if not line.startswith(" ")] == [
        "canonical gets what the contract adds:",
        "workers take the contract:",
        "the stores load; until it is whole, what they have serves:",
        "gateways take the contract:",
        "canonical loses what nobody needs any more:",
    ]
    assert "  ! drop column size" in text
    assert len(as_json(found)["processes"]) == 2
    assert not any("search: old" in line for line in text)


def test_a_gateway_that_a_new_type_breaks_takes_the_contract_before_the_load(
    before: Contract, tmp_path: Path
) -> None:
    new = contract(tmp_path, NAME, SIZE_TEXT)
    found = standing(new, process("serve", before), steps=(RETYPE,))
    assert order(found)[1:4] == [Stage.WORKERS, Stage.GATEWAYS, Stage.LOAD]
    assert any("until then it is without: column size" in line for line in told(found))
    with pytest.raises(InputError) as losing:
        require_consent(found, Consent())
    assert losing.value.detail_code == "DESTRUCTIVE_REFUSED"
    require_consent(found, Consent(losing=True))


def test_one_that_cannot_take_it_is_broken_only_where_that_was_said(
    before: Contract, tmp_path: Path
) -> None:
    new = contract(tmp_path, NAME, SIZE_TEXT)
    found = standing(new, process("serve", before, reloads=False), steps=(RETYPE,))
    with pytest.raises(ConflictError) as breaking:
        require_consent(found, Consent(losing=True))
    assert breaking.value.detail_code == "LIVE_PROCESSES"
    require_consent(found, Consent(losing=True, breaking=True))
    assert any("cannot while it runs; restart it" in line for line in told(found))


def test_what_cannot_be_carried_out_is_said_before_anything_is_begun(before: Contract) -> None:
    step = Step(Phase.ADD_COLUMNS, "add_column", "public.things", "add x", blocked="it has rows")
    with pytest.raises(SetupError, match="it has rows"):
        require_consent(standing(before, steps=(step,)), Consent(losing=True, breaking=True))


def test_nothing_is_told_where_nothing_is_to_be_done(before: Contract) -> None:
    found = Standing(SchemaPlan(()), before, (process("serve", before),), ())
    assert list(told(found)) == []
