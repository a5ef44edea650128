"""`up` tells where to ask, each type that becomes loaded, and the end of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from recordgate.cli import loads
from stores.contract.load import load_contract
from tests.acceptance.gateway_rig import GEONAMES


def state(word: str, *, done: int | None = None, of: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"state": word}
    return found if done is None else found | {"loading": {"records": done, "of": of}}


def test_each_type_is_told_once_it_is_loaded_and_then_that_all_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loads, "EVERY", 0.0)
    looks = [
        {"a": {"search": state("not loaded"), "documents": state("failing")}, "b": {}},
        {"a": {"search": state("loaded"), "documents": state("loading", done=3, of=9)}, "b": {}},
        {"a": {"search": state("loaded"), "documents": state("loaded")}, "b": {}},
    ]

    async def readiness() -> dict[str, Any]:
        return {"types": looks.pop(0)}

    asyncio.run(loads.tell_loads(readiness))
    out, err = capsys.readouterr()
    assert err.splitlines() == ["b: loaded in canonical", "a: loaded in documents, search"]
    assert out == "all loaded\n"
    assert not looks


def test_progress_has_a_total_only_where_each_load_has_one() -> None:
    known = {"a": {"s": state("loading", done=3, of=9), "d": state("loaded")}}
    assert loads.progress_of(known) == (3, 9)
    assert loads.progress_of(known | {"b": {"s": state("loading", done=4)}}) == (7, None)
    assert loads.progress_of({"a": {"s": state("loading", done=12, of=9)}}) == (12, 12)
    assert loads.progress_of({}) == (0, None)


def test_the_search_of_each_type_has_its_url() -> None:
    assert ("search", "/search/city?q=") in loads.urls(load_contract(GEONAMES))


def test_the_pages_are_told_first_unless_they_are_turned_off() -> None:
    contract = load_contract(GEONAMES)
    assert loads.urls(contract)[0] == ("pages", "/")
    assert "/" not in dict(loads.urls(contract, pages=False)).values()
