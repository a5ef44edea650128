"""Fields that a product adds to its schema by modules of its own, over a real Postgres and the
embedded stores."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.schema.extensions import load
from stores.contract.load import load_contract
from stores.errors import SetupError
from tests.acceptance.gateway_rig import GEONAMES, gateway

MODULE = """
import asyncio, time
from collections.abc import AsyncGenerator
import strawberry
from recordgate.extending import Info, extends, record, BigInt

Country = record("Country")

@extends("City", needs=("name", "population"))
class City:
    @strawberry.field(description="The name, louder.")
    def loud(self, info: Info, mark: str = "!") -> str:
        return self.name.upper() + mark

    @strawberry.field
    async def rivals(self, info: Info) -> list["City"]:
        return [c for c in await info.context.records.cities(
            filter={"population": {"lt": self.population}}, order_by=[{"population": "DESC"}], first=2)]

    @strawberry.field
    def broken(self) -> str:
        raise RuntimeError("password=hunter2")

    @strawberry.field
    def undeclared(self) -> str | None:
        return self.timezone

@strawberry.type
class Query:
    @strawberry.field
    async def capital(self, info: Info, country: str) -> City | None:
        found = await info.context.records.country(country)
        if found is None:
            return None
        cities = await info.context.records.cities(filter={"name": {"eq": found.capital}, "country": {"iso": {"eq": country}}})
        return cities[0] if cities else None

    @strawberry.field
    async def the_country(self, info: Info, iso: str) -> Country | None:
        return await info.context.records.country(iso)

    @strawberry.field
    async def sizes(self, info: Info, ids: list[str]) -> list[int | None]:
        found = await asyncio.gather(*(info.context.records.city(i) for i in ids))
        return [c and c.population for c in found]

    @strawberry.field
    async def bad_filter(self, info: Info) -> int:
        return len(await info.context.records.cities(filter={"population": {"gte": "many"}}))

    @strawberry.field
    def slow(self) -> int:
        time.sleep(0.15)
        return 1

@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, info: Info, to: int) -> AsyncGenerator[int, None]:
        for i in range(to):
            yield i
        city = await info.context.records.city("2988507")
        yield city.population
        raise RuntimeError("password=hunter2")

@strawberry.type
class Mutation:
    @strawberry.mutation
    async def grow(self, info: Info, id: str, by: int) -> int:
        city = await info.context.records.city(id)
        await info.context.records.write("updateCity", id=id, input={"population": city.population + by})
        return city.population + by
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes a module that can be imported, and says its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    names = []

    def write(text: str) -> str:
        name = f"product_{len(names)}_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        names.append(name)
        return name

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_own_fields_read_and_write_with_the_callers_rights(
    database: str, tmp_path: Path, module: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path, extensions=[module(MODULE)]) as rig:
            answer = await rig.graphql(
                """{ city(id: 2988507) { loud low: name loud2: loud(mark: "?") country { name }
                     rivals { name loud country { iso } } } }"""
            )
            assert answer["data"]["city"] == {
                "loud": "PARIS!",
                "low": "Paris",
                "loud2": "PARIS?",
                "country": {"name": "France"},
                "rivals": [
                    {"name": "Lyon", "loud": "LYON!", "country": {"iso": "FR"}},
                    {"name": "Paris", "loud": "PARIS!", "country": {"iso": "US"}},
                ],
            }
            assert answer["extensions"]["recordgate"]["fields"]["city"]["store"] == "documents"

            answer = await rig.graphql(
                """{ capital(country: "FR") { id loud } none: capital(country: "XX") { id }
                     theCountry(iso: "US") { name cities(first: 1) { nodes { name loud } } } }"""
            )
            assert answer["data"] == {
                "capital": {"id": "2988507", "loud": "PARIS!"},
                "none": None,
                "theCountry": {
                    "name": "United States",
                    "cities": {"nodes": [{"name": "Paris", "loud": "PARIS!"}]},
                },
            }

            # Lists, searches and mutations give records that have the fields too.
            answer = await rig.graphql(
                "{ cities(orderBy: [{population: ASC}]) { nodes { loud } }"
                ' searchCities(query: "lyon") { nodes { loud } } }'
            )
            assert answer["data"]["cities"]["nodes"][0] == {"loud": "PARIS!"}
            assert answer["data"]["searchCities"]["nodes"] == [{"loud": "LYON!"}]

            # One read for keys of one moment; what is not there is null.
            answer = await rig.graphql('{ sizes(ids: ["2988507", "2996944", "7", "x"]) }')
            assert answer["data"]["sizes"] == [2138551, 522969, None, None]
            assert len(answer["extensions"]["recordgate"]["fields"]) == 1

            # An exception shows a reference and nothing else; an inner refusal is the caller's own.
            answer = await rig.graphql("{ city(id: 2988507) { broken } }")
            (error,) = answer["errors"]
            assert error["extensions"]["code"] == "INTERNAL"
            assert error["extensions"]["reference"]
            assert "hunter2" not in str(answer)
            answer = await rig.graphql("{ badFilter }")
            assert answer["errors"][0]["extensions"]["code"] == "BAD_USER_INPUT"
            answer = await rig.graphql("{ city(id: 2988507) { undeclared } }")
            assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"

            # A write's token is the answer's.
            answer = await rig.graphql('mutation { grow(id: "2996944", by: 1) }')
            assert answer["data"] == {"grow": 522970}
            token = answer["extensions"]["recordgate"]["token"]
            seen = await rig.graphql(
                "{ city(id: 2996944) { population } }", headers={"Recordgate-Token": token}
            )
            assert seen["data"]["city"]["population"] == 522970

            events = await rig.client.post(
                "/graphql",
                json={"query": "subscription { count(to: 2) }"},
                headers={"Accept": "text/event-stream"},
            )
            for part in (
                '{"data":{"count":0}}',
                '{"data":{"count":1}}',
                '{"data":{"count":2138551}}',
            ):
                assert part in events.text
            assert "INTERNAL" in events.text
            assert "hunter2" not in events.text
            events = await rig.client.post(
                "/graphql",
                json={"query": "subscription { cityChanged { city { loud } } }"},
                headers={"Accept": "text/event-stream"},
            )
            assert "no fields that the product adds" in events.text

            await rig.graphql("{ slow }")
            assert "the resolver of Query.slow kept the event loop" in caplog.text

    asyncio.run(story())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nothing_like_it", "No module named 'nothing_like_it'"),
        ("x = 1 / 0", "ZeroDivisionError"),
        ("def f(:\n  pass", "SyntaxError"),
        ("class Query:\n  pass", "is not a Strawberry type"),
        (
            "from recordgate.extending import *\nimport strawberry\n@extends('Town')\nclass Town:\n"
            "  @strawberry.field\n  def a(self) -> int: return 1",
            "no record type Town",
        ),
        (
            "from recordgate.extending import *\nimport strawberry\n@extends('City', needs=('size',))\n"
            "class City:\n  @strawberry.field\n  def a(self) -> int: return 1",
            "has no property size",
        ),
    ],
)
def test_a_module_that_cannot_be_used_is_refused_with_its_place(
    module: Any, text: str, said: str
) -> None:
    name = module(text)
    with pytest.raises(SetupError) as refused:
        load([name], load_contract(GEONAMES))
    assert said in refused.value.message
    assert f"{name}.py:" in refused.value.message
    assert refused.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "import strawberry\n@strawberry.type\nclass Query:\n  @strawberry.field\n  def cities(self) -> int: return 1",
        "import strawberry\nfrom recordgate.extending import *\n@extends('City')\nclass City:\n"
        "  @strawberry.field\n  def population(self) -> int: return 1",
        "import strawberry\n@strawberry.type\nclass Query:\n  @strawberry.field\n  def node(self) -> int: return 1",
    ],
)
def test_a_name_that_is_taken_is_refused_with_its_place(module: Any, text: str) -> None:
    from gateway.schema import build_schema

    name = module(text)
    contract = load_contract(GEONAMES)
    with pytest.raises(SetupError, match=rf"{name}.py:\d+: .* already"):
        build_schema(contract, load([name], contract))


def test_a_module_that_is_not_there_is_refused() -> None:
    with pytest.raises(SetupError, match="there is no module no_such_thing"):
        load(["no_such_thing"], load_contract(GEONAMES))


HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "extend.md"


def blocks(language: str) -> list[str]:
    """The code blocks of the how-to in one language."""
    return re.findall(rf"```{language}[^\n]*\n(.*?)```", HOWTO.read_text("utf-8"), re.DOTALL)


def test_the_how_to_runs_as_it_stands(database: str, tmp_path: Path, module: Any) -> None:
    (code,) = blocks("python")
    (query,) = blocks("graphql")

    async def story() -> None:
        async with gateway(database, tmp_path, extensions=[module(code)]) as rig:
            answer = await rig.graphql(query)
            assert answer["data"] == {
                "home": {"name": "France"},
                "city": {"size": "large", "rivals": [{"name": "Lyon", "size": "small"}]},
            }
            answer = await rig.graphql(
                'mutation { rename(id: "2996944", name: "Lugdunum") { name size } }',
            )
            assert answer["data"]["rename"]["size"] == "small", answer

    asyncio.run(story())


def test_the_schema_is_printed_and_checked_from_the_shell(module: Any, tmp_path: Path) -> None:
    name = module(blocks("python")[0])
    environment = {
        **os.environ,
        "RECORDGATE_CONTRACT": str(GEONAMES),
        "RECORDGATE_EXTENSIONS": name,
        "PYTHONPATH": str(tmp_path),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "recordgate", *arguments],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    assert "rivals(first: Int! = 3): [City!]!" in run("schema", "print").stdout
    assert '@key(fields: "id")' in run("schema", "print", "--subgraph").stdout
    assert "1 extensions fit the contract" in run("schema", "check").stdout
    environment["RECORDGATE_EXTENSIONS"] = "nothing_there"
    refused = run("schema", "check")
    assert refused.returncode == 1
    assert "there is no module nothing_there" in refused.stderr


TYPED = """
import datetime, decimal, uuid
from collections.abc import AsyncGenerator
import strawberry
from strawberry.scalars import JSON

@strawberry.input
class Span:
    begin: datetime.date
    end: datetime.date | None = None
    inner: "Span | None" = None

@strawberry.type
class Query:
    @strawberry.field
    def kinds(self, day: datetime.date, at: datetime.datetime, clock: datetime.time, n: decimal.Decimal, u: uuid.UUID,
              days: list[datetime.date], span: Span, none: datetime.date | None = None) -> list[str]:
        values = [day, at, clock, n, u, days[0], span.begin, span.inner.begin, none]
        return [type(v).__name__ for v in values]

    @strawberry.field
    def day(self) -> datetime.date:
        return datetime.date(2026, 2, 3)

    @strawberry.field
    def at(self) -> datetime.datetime:
        return datetime.datetime(2026, 2, 3, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))

    @strawberry.field
    def naive(self) -> datetime.datetime | None:
        return datetime.datetime(2026, 2, 3)

    @strawberry.field
    def n(self) -> decimal.Decimal:
        return decimal.Decimal("1E+3")

    @strawberry.field
    def u(self) -> uuid.UUID:
        return uuid.UUID(int=1)

    @strawberry.field
    def any(self) -> JSON:
        return {"a": [1]}

@strawberry.type
class Subscription:
    @strawberry.subscription
    async def since(self, day: datetime.date) -> AsyncGenerator[datetime.date, None]:
        yield day + datetime.timedelta(days=1)
"""


def test_own_fields_take_and_return_pythons_own_types(
    database: str, tmp_path: Path, module: Any
) -> None:
    async def story() -> None:
        async with gateway(database, tmp_path, extensions=[module(TYPED)], published=False) as rig:
            asked = """{ kinds(day: "2026-01-02", at: "2026-01-02T03:04:05Z", clock: "03:04", n: 1.5,
                u: "12345678-1234-5678-1234-567812345678", days: ["2026-01-02"],
                span: {begin: "2026-01-02", inner: {begin: "2026-01-02"}}) }"""
            answer = await rig.graphql(asked)
            assert answer["data"]["kinds"] == [
                *("date", "datetime", "time", "Decimal", "UUID", "date", "date", "date", "NoneType")
            ]
            answer = await rig.graphql("{ day at n u any }")
            assert answer["data"] == {
                "day": "2026-02-03",
                "at": "2026-02-03T02:00:00Z",
                "n": "1000",
                "u": "00000000-0000-0000-0000-000000000001",
                "any": {"a": [1]},
            }
            for wrong, path in (
                (asked.replace('day: "2026-01-02"', 'day: "2026-13-02"'), "day"),
                (asked.replace('inner: {begin: "2026', 'inner: {begin: "x'), "span.inner.begin"),
                (asked.replace('05Z"', '05"'), "at"),
                (asked.replace("n: 1.5", 'n: "NaN"'), "n"),
            ):
                (error,) = (await rig.graphql(wrong))["errors"]
                assert error["extensions"]["code"] == "BAD_USER_INPUT"
                assert error["message"].startswith(f"{path} is not a valid ")
            answer = await rig.graphql("{ naive }")
            assert answer["errors"][0]["extensions"]["code"] == "INTERNAL"
            events = await rig.client.post(
                "/graphql",
                json={"query": 'subscription { since(day: "2026-12-31") }'},
                headers={"Accept": "text/event-stream"},
            )
            assert '{"data":{"since":"2027-01-01"}}' in events.text

    asyncio.run(story())


def test_a_type_that_takes_a_record_types_name_is_refused_by_the_extensions_name(
    database: str, tmp_path: Path, module: Any
) -> None:
    name = module(
        "import strawberry\n@strawberry.type\nclass City:\n  a: int\n"
        "@strawberry.type\nclass Query:\n  @strawberry.field\n  def it(self) -> City | None: return None"
    )

    async def story() -> None:
        async with gateway(database, tmp_path, extensions=[name], published=False):
            pass

    with pytest.raises(SetupError, match=name):
        asyncio.run(story())
