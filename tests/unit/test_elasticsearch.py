"""The pure parts of the Elasticsearch store: its URL, the mapping, index documents, filters,
verdicts, folding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from stores.errors import SetupError, StoreRefused, StoreUnavailable
from stores.protocols import Outcome, Write
from stores.query import And, Compare, Not, Op, Or, Related
from stores.search.elasticsearch import bulk
from stores.search.elasticsearch.documents import DocumentBuilder
from stores.search.elasticsearch.errors import rejected_reason, translate
from stores.search.elasticsearch.fields import analysis, mapping
from stores.search.elasticsearch.filters import query
from stores.search.elasticsearch.folding import cut, fold, spaced
from stores.search.elasticsearch.text import marked_spans
from stores.search.elasticsearch.url import parse
from stores.search.fields import levels, marks
from stores.search.filter_plan import CannotFilter, plan
from stores.search.held import held_level
from tests.conformance.store_contract import BOOK, CONTRACT, book, document

LEVEL = levels(CONTRACT, BOOK)
MARKS = frozenset(marks(LEVEL))


def built(body: bytes, known: frozenset[str] = MARKS) -> dict[str, Any]:
    lines, verdict = DocumentBuilder(held_level(LEVEL, known)).build(Write("1", 1, body))
    assert verdict is None
    found: dict[str, Any] = orjson.loads(lines)
    return found


# The URL ------------------------------------------------------------------------------------------


def test_a_url_says_where_and_how(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    (tmp_path / "key").write_text("the key\nmore")
    found = parse(
        f"elasticsearch+https://es.example:9243/shop?ca={tmp_path}/ca.pem&api_key_file={tmp_path}/key&shards=3"
    )
    assert (found.node, found.prefix, found.api_key, found.shards) == (
        "https://es.example:9243", "shop", "the key", 3,
    )  # fmt: skip
    plain = parse("elasticsearch://localhost")
    assert (plain.node, plain.prefix, plain.user) == ("http://localhost:9200", "recordgate", "")
    login = parse("elasticsearch://u%40x:p%2Fw@[::1]:9201/")
    assert (login.node, login.user, login.password) == ("http://[::1]:9201", "u@x", "p/w")


def test_an_api_key_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_KEY", "abc")
    assert parse("elasticsearch://h?api_key_env=SEARCH_KEY").api_key == "abc"
    with pytest.raises(SetupError):
        parse("elasticsearch://h?api_key_env=NOT_SET_AT_ALL")


@pytest.mark.parametrize(
    "url",
    [
        "elasticsearch://",
        "elasticsearch://s3cret:s3cret@h:99999",
        "elasticsearch://u:s3cret@h/UPPER",
        "elasticsearch://u:s3cret@h/a-b",
        "elasticsearch://u:s3cret@h/a/b",
        "elasticsearch://u:s3cret@h?sahrds=2",
        "elasticsearch://u:s3cret@h?shards=0",
        "elasticsearch://u:s3cret@h?shards=nan",
        "elasticsearch://u:s3cret@h?shards=1&shards=2",
        "elasticsearch://u:s3cret@h?replicas=some",
        "elasticsearch://u:s3cret@h?api_key_file=/no/such/s3cret",
        "elasticsearch://u:s3cret@h?ca=/etc/passwd",
        "elasticsearch+https://u:s3cret@h?ca=/no/such/s3cret",
        "elasticsearch://u:s3cret@h#x",
    ],
)
def test_a_wrong_url_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(SetupError) as wrong:
        parse(url)
    assert "s3cret" not in str(wrong.value)
    assert wrong.value.hint


def test_an_address_does_not_print_its_secrets() -> None:
    assert "s3cret" not in repr(parse("elasticsearch://u:s3cret@h"))


# The mapping and documents ------------------------------------------------------------------------


def test_a_document_has_only_fields_of_the_mapping() -> None:
    full = book(
        7, title="Émile", aliases=["a", None], isbn="x", tags=["t"], marks=[1], pages=3, copies=2**62,
        rating=-0.0, price="1.50", weight="1", printed=True, lent=False, published="2020-01-02",
        added="2020-01-02T03:04:05+00:00", opens="10:00:00", uid="u", extra={"a": [1]}, blurb="b",
        language="fr", author="a", writer={"id": "a", "name": "n", "born": None},
    )  # fmt: skip
    found = built(full)
    assert set(found) <= set(mapping(LEVEL))
    assert found["d"].encode() == full
    assert str(found["rating:v"]) == "0.0"
    assert found["n"] == ["writer/born"]


def test_an_index_of_an_older_contract_gets_only_what_it_has() -> None:
    known = frozenset(m for m in MARKS if not m.startswith(("title", "pages")))
    found = built(book(1, title="x", pages=3), known)
    assert not {f for f in found if f.startswith(("title", "pages"))}


def test_what_is_null_is_told_by_its_path_and_an_empty_list_is_not_null() -> None:
    found = built(document(id=1, tags=[]))
    assert {"title", "writer", "writer/name"} <= set(found["n"])
    assert "tags" not in found["n"]


def test_values_are_not_in_reasons() -> None:
    builder = DocumentBuilder(LEVEL)
    for body in (book(1, pages="s3cret"), book(1, title=["s3cret"]), book(1, writer={"name": 3})):
        _, verdict = builder.build(Write("1", 1, body))
        assert verdict is not None
        assert verdict.outcome is Outcome.REJECT
        assert "s3cret" not in verdict.reason
    reason = rejected_reason(
        {
            "type": "document_parsing_exception",
            "reason": "[1:5] failed to parse field [pages:v] of type [long] in document with id '1'."
            " Preview of field's value: 's3cret'",
            "caused_by": {
                "type": "illegal_argument_exception",
                "reason": 'For input string: "s3cret"',
            },
        }
    )
    assert "pages" in reason
    assert "s3cret" not in reason


def test_analyzers_use_filters_that_every_server_has() -> None:
    french = replace(
        BOOK.by_name["blurb"], search=replace(BOOK.by_name["blurb"].search, analyzer="french")
    )
    changed = replace(BOOK, properties=(*BOOK.properties, replace(french, name="resume")))
    found = analysis(levels(CONTRACT, changed))
    assert set(found["analyzer"]) == {
        "recordgate_standard", "recordgate_english", "recordgate_french",
    }  # fmt: skip
    assert {f["type"] for f in found["filter"].values()} == {"stop", "stemmer"}
    assert found["analyzer"]["recordgate_standard"]["filter"] == ["lowercase", "asciifolding"]


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Zürich", "zurich"), ("ŁÓDŹ", "lodz"), ("Smørrebrød", "smorrebrod"), ("Straße", "strasse"),
        ("e\u0301", "e"), ("東京", "東京"), ("İstanbul", "istanbul"), ("", ""),
    ],
)  # fmt: skip
def test_a_whole_text_is_folded(text: str, folded: str) -> None:
    assert fold(text) == folded


def test_words_are_cut_where_people_cut_them_and_keep_their_places() -> None:
    text = "O'Brien's  foo_bar (3.14) — ?! 東京"
    assert len(spaced(text)) == len(text)
    words = cut(text)
    assert [w for w, _, _ in words] == ["O", "Brien", "s", "foo", "bar", "3", "14", "東", "京"]
    assert all(spaced(text)[a:b] == w for w, a, b in words)


def test_marked_values_give_their_spans() -> None:
    assert marked_spans("a #bc# d#e#", "#") == ("a bc de", [(2, 4), (6, 7)])
    assert marked_spans("plain", "#") == ("plain", [])


# Filters ------------------------------------------------------------------------------------------


def test_not_has_what_is_missing_and_neq_has_not() -> None:
    found = query(plan(LEVEL, Not(Compare("pages", Op.GT, 3))))
    assert found == {"bool": {"must_not": [{"range": {"pages:v": {"gt": 3}}}]}}
    found = query(plan(LEVEL, Compare("pages", Op.NEQ, 3)))
    assert found == {
        "bool": {
            "must_not": [
                {
                    "bool": {
                        "should": [{"term": {"pages:v": 3}}, {"term": {"n": "pages"}}],
                        "minimum_should_match": 1,
                    }
                }
            ]
        }
    }


def test_everything_and_nothing() -> None:
    assert query(plan(LEVEL, And(()))) == {"match_all": {}}
    assert query(plan(LEVEL, Or(()))) == {"match_none": {}}
    assert query(plan(LEVEL, Not(And(())))) == {"bool": {"must_not": [{"match_all": {}}]}}


@pytest.mark.parametrize(
    "filter",
    [
        Compare("extra", Op.EQ, 1),
        Compare("weight", Op.GT, 1),
        Compare("aliases", Op.CONTAINS, "x"),
        Compare("tags", Op.EQ, ["x"]),
        Compare("author", Op.CONTAINS, "x"),
        Compare("title", Op.GT, "x" * 201),
        Compare("title", Op.IN, []),
        Compare("lent", Op.GT, True),
        Compare("no such", Op.EQ, 1),
        Compare("title", Op.EQ, None),
        Related("no such", And(())),
    ],
)
def test_what_cannot_be_kept_is_refused(filter: Any) -> None:
    with pytest.raises(CannotFilter):
        plan(LEVEL, filter)


def test_wildcards_in_a_value_are_plain_characters() -> None:
    found = query(plan(LEVEL, Compare("title", Op.CONTAINS, "*?\\")))
    assert found == {"wildcard": {"title:v": {"value": "*\\*\\?\\\\*"}}}


# Bulk answers -------------------------------------------------------------------------------------


def item(status: int, kind: str = "") -> dict[str, Any]:
    return {"status": status, "error": {"type": kind, "reason": "r"}}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"status": 201}, Outcome.APPLIED),
        (item(409, "version_conflict_engine_exception"), Outcome.STALE),
        (item(429, "es_rejected_execution_exception"), Outcome.RETRY),
        (item(429, "circuit_breaking_exception"), Outcome.RETRY),
        (item(503, "unavailable_shards_exception"), Outcome.RETRY),
        (item(400, "document_parsing_exception"), Outcome.REJECT),
        (item(413, "too_large"), Outcome.REJECT),
    ],
)
def test_each_item_has_its_verdict(answer: dict[str, Any], outcome: Outcome) -> None:
    assert bulk.verdict(answer, "index").outcome is outcome


def test_what_is_about_the_index_is_no_verdict_on_an_item() -> None:
    with pytest.raises(StoreUnavailable) as blocked:
        bulk.verdict(item(403, "cluster_block_exception"), "index")
    assert blocked.value.hint
    with pytest.raises(StoreUnavailable):
        bulk.verdict(item(429, "cluster_block_exception"), "index")
    for status, kind in ((404, "index_not_found_exception"), (400, "index_closed_exception")):
        with pytest.raises(StoreUnavailable, match="deleted or closed"):
            bulk.verdict(item(status, kind), "index")
    with pytest.raises(StoreRefused):
        bulk.verdict(item(403, "security_exception"), "index")


def test_statuses_become_our_errors() -> None:
    assert isinstance(translate(429, "", "http://h"), StoreUnavailable)
    assert isinstance(translate(503, "", "http://h"), StoreUnavailable)
    assert isinstance(translate(401, "", "http://h"), StoreRefused)
    old = translate(400, "media_type_header_exception", "http://h")
    assert isinstance(old, StoreRefused)
    assert "8.19" in old.hint


def test_bodies_are_bounded_in_bytes_and_items() -> None:
    items = [bulk.Item(n, b"x" * (bulk.BODY_BYTES // 2 - 1)) for n in range(5)]
    assert [len(p) for p in bulk.bodies(items)] == [2, 2, 1]
    small = [bulk.Item(n, b"x") for n in range(bulk.BODY_ITEMS + 1)]
    assert [len(p) for p in bulk.bodies(small)] == [bulk.BODY_ITEMS, 1]
    assert list(bulk.bodies([])) == []
