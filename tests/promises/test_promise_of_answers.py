"""The promises about what callers are told: they read their writes, they learn how fresh an answer
is, and they see nothing that is not theirs."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from tests.histories.faulty import switch
from tests.promises.case import Case

pytestmark = pytest.mark.timeout(900)
"""The first test of a stage starts its servers."""

DOORS = {
    "documents": 'region(id: "w") { name }',
    "search": 'searchRegions(query: "{}") { totalCount nodes { code name } }',
}
"""Sink → a query that it answers; {}: the word that is looked for."""


def ask(case: Case, sink: str, word: str, **headers: str) -> tuple[str | None, dict[str, Any]]:
    """What the caller sees of the region's name, or the code of the error, and the route of the
    answer."""
    answer = case.front.graphql("{ it: " + DOORS[sink].replace("{}", word) + " }", **headers)
    if "errors" in answer:
        return "!" + answer["errors"][0]["extensions"]["code"], {}
    route = answer["extensions"]["recordgate"]["fields"]["it"]
    found = answer["data"]["it"]
    if sink == "search":
        found = next((n for n in found["nodes"] if n["code"] == "w"), None)
    return (found["name"] if found else None), route


def ask_the_store(case: Case, sink: str, word: str, **headers: str) -> tuple[str, dict[str, Any]]:
    """The same, of the sink itself: canonical stands in for one that is slow for a moment."""
    deadline = time.monotonic() + 60
    while True:
        seen, route = ask(case, sink, word, **headers)
        if seen is not None and route.get("store") == sink:
            return seen, route
        assert time.monotonic() < deadline, f"{sink} does not answer: {seen} by {route}"
        time.sleep(0.02)


def test_promise_read_your_writes(case: Case) -> None:
    """With the token of a write its reader sees it, or is told that it cannot be: never something
    older."""
    stage = case.stage
    stage.sql("INSERT INTO public.regions VALUES ('w', 'word0')")
    stage.settle()
    for turn in range(1, 13):
        word = f"word{turn}"
        if turn == 4:
            stage.kill()
        if turn == 7:
            stage.start()
        if turn == 9:
            for sink in case.sinks:
                switch(stage.folder, sink, "deaf")
        if turn == 11:
            for sink in case.sinks:
                switch(stage.folder, sink, None)
            stage.worker and stage.worker.pause()
        made = case.front.graphql(
            'mutation { updateRegion(id: "w", input: {name: "' + word + '"}) { token } }'
        )
        token = made["data"]["updateRegion"]["token"]
        works = stage.worker is not None and turn not in (9, 10, 11, 12)
        for sink in case.sinks:
            for wait in ("0s", "10s") if works else ("0s",):
                seen, route = ask(case, sink, word, token=token, wait_up_to=wait)
                if seen == "!STALE":
                    assert sink == "search", "canonical can always say what a key holds"
                    assert wait == "0s", "it was given time"
                else:
                    assert seen == word, (sink, wait, route)
    stage.start()
    case.inject("the worker killed, paused, and writing to a store whose answers are lost")
    for sink in case.sinks:
        seen, _ = ask_the_store(case, sink, "word12", token=token, wait_up_to="20s")
        assert seen == "word12"
    assert ask(case, case.sinks[0], "word12", token=token[:-3] + "abc")[0] == "!BAD_USER_INPUT"
    case.inject("a forged token")
    stage.settle()


def test_promise_honest_freshness(case: Case) -> None:
    """What an answer says of its age is true: nothing is missing in it that had been committed for
    longer."""
    stage = case.stage
    stage.sql("INSERT INTO public.regions VALUES ('w', 'fixed 0')")
    stage.settle()
    told = 0
    with case.writing("UPDATE public.regions SET name = 'fixed {}' WHERE code = 'w'") as committed:
        for turn in range(60):
            if turn == 15 and stage.worker:
                stage.worker.pause()
            if turn == 25:
                stage.start()
            if turn == 35:
                stage.kill()
            if turn == 45:
                stage.start()
            if turn in (50, 55):
                for sink in case.sinks:
                    switch(stage.folder, sink, "half" if turn == 50 else None)
            for sink in case.sinks:
                asked = time.time()
                done = list(committed)
                seen, route = ask(case, sink, "fixed")
                assert seen is not None
                if route.get("store") != sink:
                    assert sink == "documents", f"{seen} by {route}"
                    assert route["store"] == "canonical"
                    continue
                told += 1
                number = int(seen.split()[1])
                allowed = asked - route["stalenessMs"] / 1000
                missing = [at for at in done[number:] if at < allowed]
                assert not missing, f"{sink} is {asked - missing[0]:.3f} s old and says {route}"
            time.sleep(0.01)
    assert told > 5, "the stores were asked"
    case.inject("the worker paused, killed, and failing while a writer goes on")
    stage.settle()
    stage.kill()
    time.sleep(0.3)
    stage.sql("UPDATE public.regions SET name = 'fixed last' WHERE code = 'w'")
    for sink in case.sinks:
        _, first = ask_the_store(case, sink, "fixed")
        time.sleep(0.2)
        old, later = ask_the_store(case, sink, "fixed")
        assert old != "fixed last"
        assert later["stalenessMs"] > first["stalenessMs"] + 150, "it grows while nobody works"
        assert later["watermark"] == first["watermark"]
        seen, route = ask(case, sink, "fixed", max_staleness="100ms")
        if sink == "search":
            assert seen == "!STALE"
        else:
            assert (seen, route["store"]) == ("fixed last", "canonical")
    case.inject("no worker at all")
    stage.start()
    stage.settle()


SECRETS = (b"91000", b"42000", b"insomnia", b"migraine", b"quill@", b"stone@", b"Blacksite")


def test_promise_only_what_you_may_see(case: Case) -> None:
    """A caller without a role, at every door, also while a store is down: no restricted value in
    any byte."""
    stage, front = case.stage, case.front
    stage.sql(
        "INSERT INTO public.departments VALUES ('pub', true, 'Library'), ('sec', false, 'Blacksite')",
        "INSERT INTO public.people VALUES (1, 'Ada Quill', 91000, 'insomnia', 'ada.quill@example.org', 'pub'),"
        " (2, 'Bob Stone', 42000, 'migraine', 'bob.stone@example.org', 'sec')",
    )
    stage.settle()
    paths = [
        "/search/person?q=", "/search/person?q=quill&highlight=name", "/search/person?q=insomnia",
        "/search/person?q=insomnai&suggestions=true", "/search/person?q=blacksite", "/search/person?sort=salary",
        "/search/person?facets=salary,diagnosis", "/search/person?highlight=diagnosis", "/search/department?q=",
        '/search/person?filter={"salary":{"gt":50000}}', '/search/person?filter={"department":{"name":{"eq":"x"}}}',
        "/suggest/person?q=ins", "/suggest/person?q=a", "/suggest/department?q=bl", "/export/person",
        "/export/person?format=csv", "/export/department", '/export/person?filter={"diagnosis":{"eq":"insomnia"}}',
    ]  # fmt: skip
    hidden = "id name salary diagnosis email department { code name }"
    queries = [
        f'{{ person(id: "1") {{ {hidden} }} }}', f"{{ people {{ nodes {{ {hidden} }} }} }}",
        f'{{ searchPeople(query: "quill") {{ nodes {{ {hidden} }} edges {{ highlights {{ fragments }} }} }} }}',
        '{ department(id: "sec") { code name } }', "{ departments { nodes { name } totalCount } }",
        "{ people(filter: {salary: {gt: 50000}}) { totalCount } }", "{ people(orderBy: [{salary: ASC}]) { nodes { name } } }",
        "{ peopleAggregate(groupBy: [diagnosis]) { groups { key { diagnosis } count } } }",
        'mutation { updatePerson(id: "1", input: {name: "Ada Quill"}) { person { salary diagnosis email } } }',
        'mutation { createPerson(input: {id: 1, name: "x"}) { token } }',
    ]  # fmt: skip

    def knock() -> int:
        answers = [(path, front.get(path).content) for path in paths]
        answers += [(query, orjson.dumps(front.graphql(query))) for query in queries]
        for door, answer in answers:
            for secret in SECRETS:
                assert secret not in answer, (door, answer)
        return sum(b"Quill" in answer for _, answer in answers)

    assert knock() >= 5, "what may be seen is seen"
    for word in ("insomnia", "migraine", "blacksite", "example", "91000"):
        assert front.get(f"/search/person?q={word}").json()["total"] == 0, word
    case.inject("every door asked by a caller without a role, and for what it may not ask")
    for sink in case.sinks:
        switch(stage.folder, f"reader-{sink}", "mute")
    try:
        knock()
    finally:
        for sink in case.sinks:
            switch(stage.folder, f"reader-{sink}", None)
    case.inject("the same while a store does not answer")
    letters = stage.conn.execute("SELECT reasons::text FROM recordgate.dead_letters").fetchall()
    log = (stage.folder / "worker.log").read_bytes() + repr(letters).encode()
    assert not [secret for secret in SECRETS if secret in log], "the worker's log tells"
