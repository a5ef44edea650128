"""The pure parts of collecting: what a contract may say of a source, which page is next, which
address is asked, what is another shape."""

from __future__ import annotations

import ipaddress
import json
import socket
from pathlib import Path
from typing import Any

import httpcore
import pytest
import yaml

from recordgate.collecting import drift
from recordgate.collecting.addresses import Allowed, GuardedBackend, checked_addresses
from recordgate.collecting.books import rest_after
from recordgate.collecting.fetching import Fetcher, retry_after
from recordgate.collecting.http_source import earlier, higher
from recordgate.collecting.paging import Circle, address_of, next_position
from recordgate.collecting.secrets import secret_value
from recordgate.collecting.shaping import shaped, shaper_of
from stores.contract.collect import Pages, Since
from stores.contract.json_paths import every, parse_path
from stores.contract.load import load_contract
from stores.errors import ContractError, SetupError, SourceError
from tests.collect_world import contract_of

HTTP = {"url": "https://api.example/v1", "records": "$.data[*]"}


def codes(tmp_path: Path, collect: Any) -> set[str]:
    path = tmp_path / "c.odcs.yaml"
    path.write_text(yaml.safe_dump(contract_of(collect)))
    try:
        load_contract(path)
    except ContractError as error:
        return {str(getattr(f, "code", "")) for f in error.findings}
    return set()


@pytest.mark.parametrize(
    "collect",
    [
        {"http": {**HTTP, "auth": {"by": "bearer", "token": "s3cret"}}},
        {"http": {**HTTP, "auth": {"by": "basic", "user": "env:U", "password": "hunter2"}}},
        {"http": {**HTTP, "auth": {"by": "oauth2", "tokenUrl": "https://u:p@id.example", "client": "env:A", "secret": "env:B"}}},
        {"http": {**HTTP, "auth": {"by": "apiKey", "key": "file:relative"}}},
        {"http": {**HTTP, "url": "https://me:pw@api.example/"}},
        {"http": {**HTTP, "url": "https://api.example/?api_key=abc"}},
        {"http": {**HTTP, "headers": {"Authorization": "Bearer abc"}}},
    ],
)  # fmt: skip
def test_a_secret_in_the_contract_is_refused(tmp_path: Path, collect: Any) -> None:
    assert "SECRET_IN_CONTRACT" in codes(tmp_path, collect)


@pytest.mark.parametrize(
    "collect",
    [
        "http",
        {},
        {"http": HTTP, "file": {"path": "a.csv"}},
        {"http": {**HTTP, "url": "ftp://x"}},
        {"http": {**HTTP, "url": "https://[::1"}},
        {"http": {**HTTP, "records": "$..data"}},
        {"http": {**HTTP, "pages": {"by": "cursor"}}},
        {"http": {**HTTP, "pages": {"by": "guess"}}},
        {"http": {**HTTP, "pagse": {}}},
        {"http": {**HTTP, "atMost": {"requests": "0/s"}}},
        {"http": {**HTTP, "headers": {"X-A": "a\nb"}}},
        {"http": HTTP, "every": "soon"},
        {"http": HTTP, "drift": {"added": "ignore"}},
        {"http": HTTP, "map": {"nme": "a"}},
        {"http": HTTP, "maxDeletes": "200%"},
        {"http": HTTP, "deletes": {"by": "field"}},
        {"file": {"path": "a.csv"}, "map": {"name": {"from": "n", "trim": True}}},
        {"file": {}},
    ],
)
def test_a_wrong_word_of_a_source_is_found(tmp_path: Path, collect: Any) -> None:
    assert "BAD_EXTENSION" in codes(tmp_path, collect)


def test_what_the_howto_says_is_taken(tmp_path: Path) -> None:
    assert (
        codes(
            tmp_path,
            {"http": HTTP, "since": {"field": "updatedAt", "param": "s", "overlap": "10m"}},
        )
        == set()
    )
    assert (
        codes(
            tmp_path,
            {"file": {"path": "in/*.csv"}, "deletes": {"by": "full"}, "map": {"id": "key"}},
        )
        == set()
    )


@pytest.mark.parametrize(
    "text",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "0.0.0.0", "::1", "fe80::1", "fd00::1", "100.64.0.1",
     "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "224.0.0.1"],
)  # fmt: skip
def test_an_address_of_the_neighbourhood_is_not_asked(text: str) -> None:
    address = ipaddress.ip_address(text)
    assert not Allowed().takes("x.example", address)
    assert Allowed.parse(["x.example"]).takes("X.example.", address)


def test_public_addresses_and_allowed_networks_are_asked() -> None:
    assert Allowed().takes("x", ipaddress.ip_address("93.184.216.34"))
    assert Allowed.parse(["10.0.0.0/8"]).takes("x", ipaddress.ip_address("10.9.9.9"))
    assert not Allowed.parse(["10.0.0.0/8"]).takes("x", ipaddress.ip_address("192.168.1.1"))


def test_a_name_that_changes_its_mind_gains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["93.184.216.34", "127.0.0.1"])
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    class Inner(httpcore.SyncBackend):
        def connect_tcp(self, host: str, *args: Any, **more: Any) -> Any:
            asked.append(host)
            raise httpcore.ConnectError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    backend = GuardedBackend(Allowed())
    backend._inner = Inner()
    with pytest.raises(httpcore.ConnectError):
        backend.connect_tcp("rebind.example", 80)
    assert asked == ["93.184.216.34"]  # the address that was looked at, not the name
    with pytest.raises(SourceError):
        checked_addresses("rebind.example", 80, Allowed())


@pytest.mark.parametrize(
    "target",
    ["https://other.example/x", "http://api.example/x", "https://api.example:444/x", "//evil/x", "file:///etc/passwd"],
)  # fmt: skip
def test_a_next_link_to_another_server_is_refused(target: str) -> None:
    fetcher = Fetcher(Allowed(), timeout=1, max_bytes=10)
    with pytest.raises(SourceError, match="another server"):
        fetcher.same_place(
            "https://api.example/v1", f"https:{target}" if target.startswith("//") else target
        )
    fetcher.same_place("https://api.example/v1", "https://API.example:443/v2")


def test_the_next_page_is_found_in_each_way() -> None:
    link = '<https://a/x?p=1>; rel="prev", </x?p=3>; title="a"; rel="last next"'
    assert next_position(Pages("link"), {}, "https://a/x", link, {}, 1, 1) == {
        "url": "https://a/x?p=3"
    }
    assert next_position(Pages("link"), {}, "https://a/x", "", {}, 1, 1) is None
    cursor = Pages("cursor", ("next",), "c")
    assert next_position(cursor, {}, "u", "", {"next": 7}, 1, 1) == {"at": "7"}
    assert next_position(cursor, {}, "u", "", {"next": None}, 1, 1) is None
    with pytest.raises(SourceError):
        next_position(cursor, {}, "u", "", {"next": {"a": 1}}, 1, 1)
    page = Pages("page", param="p", start=1, total=("total",))
    assert next_position(page, {"at": 2}, "u", "", {"total": 9}, 3, 6) == {"at": 3}
    assert next_position(page, {"at": 3}, "u", "", {"total": 9}, 3, 9) is None
    assert (
        address_of("https://a/x?p=0&q=1", page, {"at": 3}, {"since": "a b"})
        == "https://a/x?q=1&since=a+b&p=3"
    )


def test_pages_that_go_in_a_circle_are_noticed() -> None:
    circle = Circle(5)
    circle.page({}, b"1", 2)
    circle.page({"at": "a"}, b"2", 2)
    with pytest.raises(SourceError) as raised:
        circle.page({}, b"3", 2)
    assert raised.value.detail_code == "PAGES_LOOP"
    most = Circle(1)
    most.page({}, b"", 0)
    with pytest.raises(SourceError) as raised:
        most.page({"at": 1}, b"", 0)
    assert raised.value.detail_code == "TOO_MANY_PAGES"


def test_marks_go_up_and_are_asked_for_a_little_earlier() -> None:
    assert higher(higher("9", 10), "8") == "10"
    assert higher("2024-01-02", "2024-01-01") == "2024-01-02"
    assert higher(None, None) is None
    assert earlier("100", Since((), "s", 10)) == "90"
    assert earlier("2024-01-01T00:00:05Z", Since((), "s", 10)) == "2023-12-31T23:59:55Z"
    assert earlier("abc", Since((), "s", 10)) == "abc"


def test_waiting_is_bounded() -> None:
    assert retry_after("999999999", 0) == 3600
    assert retry_after("Thu, 01 Jan 1970 00:00:10 GMT", 0) == 10
    assert retry_after("soon", 0) == retry_after("", 0) == retry_after("-5", 0) == 0
    assert rest_after(1, 300, 0) == 2
    assert rest_after(50, 5, 0) == 5
    assert rest_after(1, 300, 600) == 600


def test_a_shape_is_compared_with_what_was_seen() -> None:
    old, number, _ = drift.observed([{"a": 1, "b": "x", "c": None} for _ in range(60)])
    old = drift.merged({}, old, number)
    batch, number, lines = drift.observed(
        [{"a": 1}, {"a": "1", "d": 2}, {"a": 3}, {"a": 3}, {"a": 3}]
    )
    found = {
        (c.what, c.field, c.line)
        for c in drift.changes(old, batch, number, lines, frozenset("abc"))
    }
    assert found == {("type", "a", 2), ("added", "d", 2), ("missing", "b", 0), ("missing", "c", 0)}
    # A short page that happens to lack an optional field is no other shape.
    few, number, lines = drift.observed([{"a": 1}])
    assert drift.changes(old, few, number, lines, frozenset("ab")) == []
    wide, _, _ = drift.observed([{f"f{i}": 1 for i in range(2000)}])
    assert len(wide) == drift.MOST_FIELDS


def test_the_last_record_of_a_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "c.odcs.yaml"
    path.write_text(
        yaml.safe_dump(
            contract_of({"http": HTTP, "deletes": {"by": "field", "field": {"gone": True}}})
        )
    )
    record = load_contract(path).types["station"]
    assert record.collect is not None
    rows = shaped(
        [{"id": 1, "name": "a"}, {"id": 2, "gone": True}, {"id": 1, "name": "b"}, {"id": 2, "name": "back"},
         {"id": 3, "gone": 1}, {"id": 4, "gone": True}, {"name": "no key"}, {"name": "nor this"}],
        shaper_of(record.collect, record), record.collect, ["id"], columns=frozenset(("id", "name")),
    )  # fmt: skip
    upserts = [json.loads(line) for line in rows.upserts.splitlines()]
    assert upserts == [
        {"id": 1, "name": "b"},
        {"id": 2, "name": "back"},
        {"id": 3, "name": None},
        {"id": None, "name": "no key"},
        {"id": None, "name": "nor this"},
    ]
    assert [json.loads(line) for line in rows.deletes.splitlines()] == [{"id": 4}]


def test_paths_lead_where_they_say() -> None:
    data = {"a b": [{"x": [1, 2]}, {"x": []}], "n": {"@next": "u"}}
    assert list(every(data, parse_path("$['a b'][*].x[0]"))) == [1]
    assert list(every(data, parse_path("n.@next"))) == ["u"]
    for wrong in ("$..x", "$[?(@.a)]", "$.a[", "$[1:2]", "$.a b"):
        with pytest.raises(ValueError, match="is not a path"):
            parse_path(wrong)


def test_a_secret_that_is_not_there_is_named_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(SetupError, match="NOT_THERE"):
        secret_value("env:NOT_THERE")
    (tmp_path / "s").write_text("value\nsecond\n")
    assert secret_value(f"file:{tmp_path}/s") == "value"
    (tmp_path / "bad").write_bytes(b"a\x07b\n")
    with pytest.raises(SetupError) as raised:
        secret_value(f"file:{tmp_path}/bad")
    assert "a\x07b" not in str(raised.value)
