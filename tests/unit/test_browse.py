"""The pure parts of the pages: markup that escapes, addresses that come back as what they were made
of, conditions that say what is wrong with them, commands that a shell takes as they are."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import subprocess
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.browse import counting, queries
from gateway.browse.frame import Page, curl, span
from gateway.browse.landing import Count
from gateway.browse.markup import Markup, el, text
from gateway.browse.queries import Asked
from gateway.browse.record import record
from gateway.browse.seen import Seen, seen_types
from gateway.browse.values import fragment
from gateway.browse.views import Condition, View, filter_of, read_view, record_address
from gateway.context.services import Viewer
from gateway.endpoints import assets
from gateway.shape.visibility import Visibility
from stores.contract.load import load_contract
from stores.errors import InputError
from stores.query import Op
from tests.acceptance.access_rig import RESTRICTED
from tests.acceptance.gateway_rig import GEONAMES

WORLD = load_contract(GEONAMES)
CITY = Seen(WORLD.types["city"], Visibility(WORLD))
TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30)
VENDORED = Path(assets.__file__).parent / "static" / "vendor"


def test_whatever_is_no_element_is_escaped() -> None:
    made = el("a", "<b>", None, 3, ["&", el("i", '"')], href='"><script>', title=None, hidden=True)
    assert made == '<a href="&quot;&gt;&lt;script&gt;" hidden>&lt;b&gt;3&amp;<i>&quot;</i></a>'
    assert isinstance(made, Markup)
    assert text("<") == "&lt;"


@given(TEXT)
@example("<em><img src=x></em>")
@example("</em><em>")
def test_only_the_marks_of_a_highlight_are_markup(content: str) -> None:
    made = fragment(content)
    assert set(re.findall(r"<[^>]*>", made)) <= {"<bdi>", "</bdi>", "<mark>", "</mark>"}


@given(TEXT)
@example("..")
@example("a/./b")
@example("/")
@example("")
@example("%2e%2e")
@example("?key=1#x")
def test_a_browser_asks_for_the_key_that_the_address_was_made_of(key: str) -> None:
    """It resolves the address as RFC 3986 has it, before anything is decoded."""
    found = urlsplit(urljoin("http://host/browse/x", record_address("city", key)))
    path = unquote(found.path)
    assert path.startswith("/browse/city/")
    asked = dict(parse_qsl(found.query, keep_blank_values=True)).get(
        "key", path[len("/browse/city/") :]
    )
    assert asked == key


@given(TEXT, TEXT, st.lists(st.sampled_from(["name", "population"]), unique=True, max_size=2))
def test_a_view_comes_back_from_its_address(words: str, name: str, order: list[str]) -> None:
    view = View(
        "city",
        words.strip(),
        (Condition("name", Op.EQ, name), Condition("population", Op.GTE, "10")),
        tuple((n, n == "name") for n in order),
        50,
        after="abc",
    )
    query = urlsplit(view.address).query
    assert read_view(CITY, parse_qsl(query, keep_blank_values=True)) == view


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("population.gte", "many"), "population.gte must be a whole number, not 'many'"),
        (("latitude.lt", "north"), "latitude.lt must be a number, not 'north'"),
        (("name.isNull", "maybe"), "name.isNull must be true or false"),
        (("name.like", "x"), "name cannot be compared by 'like'"),
        (("nothing.eq", "x"), "'nothing' is no field to filter by"),
        (("sort", "alternateNames"), "'alternateNames' cannot be ordered by"),
        (("size", "0"), "size must be a number from 1 to 100"),
        (("size", "²"), "size must be a number from 1 to 100"),
        (("page", "2"), "no parameter 'page' is known"),
    ],
)
def test_what_is_wrong_with_an_address_is_said_in_words(given: tuple[str, str], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        read_view(CITY, [given])


def test_an_address_with_thousands_of_conditions_is_not_read_to_its_end() -> None:
    given = iter([("population.neq", str(n)) for n in range(5000)])
    with pytest.raises(InputError, match="at most 20 conditions"):
        read_view(CITY, given)
    assert len(list(given)) > 4900


def test_a_long_text_stands_once_on_its_record_and_never_as_its_name() -> None:
    node = dict.fromkeys(CITY.fields) | {"id": "1", "name": "long" * 50_000}
    page = Page(WORLD, Viewer("anonymous"), "http://localhost")
    made = record(page, CITY, "1", Asked("{ city }", rows="city"), {"data": {"city": node}})
    assert len(made) < 220_000


def test_a_page_does_not_wait_for_counts_that_cannot_be_called_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hanging(counting.Counts):
        async def _count(self, viewer: Viewer, types: list[Seen]) -> dict[str, Count]:
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(60)
            return {}

    async def go() -> dict[str, Count]:
        counts = Hanging(None, None)  # type: ignore[arg-type]
        return await asyncio.wait_for(counts.of(Viewer("anonymous"), [CITY]), 5)

    monkeypatch.setattr(counting, "PATIENCE", 0.01)
    loop = asyncio.new_event_loop()
    assert loop.run_until_complete(go())["city"].reason == "not counted in time"
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_what_is_counted_beside_the_rows_does_not_say_what_became_of_them() -> None:
    beside = {"message": "b", "path": ["searchCities"], "extensions": {"code": "BAD_USER_INPUT"}}
    own = {"message": "o", "path": ["cities"], "extensions": {"code": "STORE_UNAVAILABLE"}}
    asked = Asked("", rows="cities")
    assert queries.own_errors({"data": {"cities": {}}, "errors": [beside]}, asked) == []
    assert queries.own_errors({"data": {"cities": None}, "errors": [beside, own]}, asked) == [own]
    assert queries.own_errors({"data": None, "errors": [beside]}, asked) == [beside]
    assert queries.own_errors({"errors": [{"message": "whole"}]}, asked) == [{"message": "whole"}]


def test_a_table_asks_for_what_it_shows() -> None:
    asked = queries.listing(CITY, read_view(CITY, []))
    fields = re.findall(r"^ {8}(\w+)$", asked.query, flags=re.M)
    assert len(fields) <= queries.COLUMNS + 1 < len(CITY.fields) + 1


def test_nothing_unseen_is_copied_to_a_terminal() -> None:
    page = Page(WORLD, Viewer("anonymous"), "http://localhost")
    value = "a\u202eb\x9b31m\x7f\u2028\U000e0001ü🙂"
    made = curl(page, Asked("{ it }", {"words": value}))
    assert all(c.isprintable() or c == "\n" for c in made)
    sent = made.split("--data-raw '")[1].rstrip("'")
    assert json.loads(sent)["variables"]["words"] == value
    assert "ü🙂" in made


def test_several_conditions_of_one_field_must_all_hold() -> None:
    two = (Condition("population", Op.GTE, "1"), Condition("population", Op.LT, "5"))
    assert filter_of(CITY, two) == {"and": [{"population": {"gte": 1}}, {"population": {"lt": 5}}]}
    assert filter_of(CITY, two[:1]) == {"population": {"gte": 1}}
    assert filter_of(CITY, ()) is None


def test_of_a_type_only_what_a_role_sees_is_offered() -> None:
    contract = load_contract(RESTRICTED)
    staff = Seen(contract.types["person"], Visibility(contract, frozenset({"staff"})))
    assert "salary" not in staff.fields
    assert "email" in staff.fields
    assert "email" not in staff.comparisons
    assert "salary" not in staff.sortable(searching=True)
    assert staff.facets == ()
    hr = Seen(contract.types["person"], Visibility(contract, frozenset({"hr"})))
    assert {"salary", "email"} <= set(hr.comparisons)
    assert [s.type.name for s in seen_types(hr.visibility)] == ["department", "person"]


@given(TEXT, TEXT)
@example("it's", "$(touch x) `y` \\ !")
def test_a_shell_takes_a_command_as_it_is_meant(query: str, value: str) -> None:
    page = Page(WORLD, Viewer(), "http://host")
    command = curl(page, Asked(query, {"v": value}))
    parts = subprocess.run(
        ["sh", "-c", "curl() { printf '%s\\0' \"$@\"; }; " + command],
        capture_output=True,
        check=True,
    ).stdout.decode()

    sent = json.loads(parts.split("\0")[4])
    assert sent == {"query": " ".join(query.split()), "variables": {"v": value}}


def test_times_are_said_in_their_unit() -> None:
    assert [span(n) for n in (0.4, 12, 1500, 60_000, 5_400_000, 172_800_000)] == [
        "0 ms", "12 ms", "1.5 s", "1 min", "1.5 h", "2 d",
    ]  # fmt: skip


def test_the_files_of_others_are_those_that_were_reviewed() -> None:
    """DIGESTS says of each where it comes from and what its bytes are; their licences lie beside
    them."""
    lines = [
        line.split() for line in (VENDORED / "DIGESTS").read_text("utf-8").splitlines() if line
    ]
    listed = {name: digest for digest, name, _ in lines}
    there = {p.name for p in VENDORED.iterdir() if p.suffix in (".js", ".css")}
    assert listed.keys() == there
    for name, digest in listed.items():
        assert hashlib.sha384((VENDORED / name).read_bytes()).hexdigest() == digest, name
    assert {"LICENSE.graphiql", "LICENSE.react"} <= {p.name for p in VENDORED.iterdir()}
    assert {n.removeprefix("vendor/") for n in assets.NAMES if n.startswith("vendor/")} == there
