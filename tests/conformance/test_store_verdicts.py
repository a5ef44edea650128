"""Bad rows stop nothing: each write of a batch has a verdict of its own, in order."""

from __future__ import annotations

from stores.protocols import Outcome, Write
from stores.write_checks import MAX_DOCUMENT_BYTES, MAX_KEY_BYTES
from tests.conformance.store_backends import Place, held, load, outcomes, publish, run
from tests.conformance.store_contract import author, delete, put

APPLIED, STALE, REJECT = Outcome.APPLIED, Outcome.STALE, Outcome.REJECT


def test_a_mixed_batch_has_a_verdict_for_each_in_order(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put(k, 10) for k in ("held", "kept", "gone", "lost")])
            await load(store, "author", [delete("gone", 11), delete("lost", 11)])
            batch = [
                put("new", 20),
                put("held", 9),
                Write("bad", 20, b"{not json"),
                put("gone", 10),
                delete("kept", 20),
                delete("unknown", 20),
                Write("no object", 20, b"[1]"),
                put("lost", 21),
            ]
            expected = [APPLIED, STALE, REJECT, STALE, APPLIED, APPLIED, REJECT, APPLIED]
            assert await outcomes(store, batch) == expected
            await publish(store)
            assert await held(store) == {"new": 20, "held": 10, "lost": 21}

    run(story())


def test_a_document_that_cannot_be_taken_is_refused_alone_with_a_reason(place: Place) -> None:
    bad = {
        "truncated": b'{"id": "a"',
        "empty": b"",
        "not utf-8": b'{"id": "\xff"}',
        "a number": b"1",
        "null": b"null",
        "nan": b'{"id": NaN}',
        "too large": author("a", "x" * MAX_DOCUMENT_BYTES),
        "deep": b'{"id":' + b"[" * 5000 + b"]" * 5000 + b"}",
    }

    async def story() -> None:
        async with place.ready("author") as store:
            batch = [put("before", 1)]
            batch += [Write(name, 1, body) for name, body in bad.items()]
            batch += [put("after", 1)]
            verdicts = await store.write("author", 1, batch)
            assert [v.outcome for v in verdicts] == [APPLIED, *[REJECT] * len(bad), APPLIED]
            assert all(v.reason for v in verdicts if v.outcome is REJECT)
            assert not any("x" * 50 in v.reason for v in verdicts), "a reason shows the document"
            await publish(store)
            assert await held(store) == {"before": 1, "after": 1}

    run(story())


def test_a_key_or_version_that_cannot_be_taken_is_refused_alone(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            batch = [
                put("k" * (MAX_KEY_BYTES + 1), 1),
                put("é" * (MAX_KEY_BYTES // 2) + "x", 1),
                put("nul\0", 1, author("x")),
                put("surrogate \ud800", 1, author("x")),
                put("zero", 0, author("x")),
                put("negative", -1, author("x")),
                put("too great", 2**63, author("x")),
                put("k" * MAX_KEY_BYTES, 1),
            ]
            assert await outcomes(store, batch) == [*[REJECT] * 7, APPLIED]
            await publish(store)
            assert await held(store) == {"k" * MAX_KEY_BYTES: 1}
            # No store can hold such a key, so deleting it is done: nothing is to be set aside for
            # ever.
            gone = [delete(write.key, 2) for write in batch[:4]]
            assert await outcomes(store, gone) == [APPLIED] * 4

    run(story())


def test_a_refused_document_leaves_the_one_before_it(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [put("a", 1)])
            assert await outcomes(store, [Write("a", 2, b"{")]) == [REJECT]
            await publish(store)
            assert await held(store) == {"a": 1}
            assert await outcomes(store, [put("a", 2)]) == [APPLIED]

    run(story())


def test_an_empty_batch_is_taken(place: Place) -> None:
    async def story() -> None:
        async with place.ready("author") as store:
            assert await store.write("author", 1, []) == []
            await publish(store)

    run(story())


def test_documents_come_back_byte_for_byte(place: Place) -> None:
    odd = (
        b'{"id": "a",  "name":"\\u00e9\\ud83d\\ude00 \xc3\xa9 \xf0\x9f\x98\x80", "born" :null,'
        b'"n":1.10, "big":123456789012345678901234567890, "e":1E5, "z":{"b":1,"a":[ ]}}'
    )

    async def story() -> None:
        async with place.ready("author") as store:
            await load(store, "author", [Write("a", 1, odd)])
            (stored,) = await store.scan("author", 1, None, 10)
            assert stored.document == odd

    run(story())
