"""Credentials are read strictly, keys are kept as hashes, tokens are verified by pinned algorithms
and current keys, and a caller gets no more than its share."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from psycopg import sql

from gateway.compiler.masks import MaskKey, masked, masked_sql
from gateway.context.services import Viewer
from gateway.http.problems import HttpProblem
from gateway.security.access import Access, AccessMiddleware
from gateway.security.api_keys import make_key, recognised
from gateway.security.authenticate import Anonymous, Authenticator, Rules
from gateway.security.callers import Callers
from gateway.security.credentials import credential_of
from gateway.security.key_file import KeyFile, changing_keys, read_keys
from gateway.security.key_sets import ALGORITHMS, KeySource, read_key_set, reader
from gateway.security.tokens import TokenRules, TokenVerifier, roles_in
from gateway.shape.visibility import Form
from stores.errors import SetupError, StoreUnavailable
from tests.library_world import LIBRARY

# Credentials -----------------------------------------------------------------------------------


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ([], None),
        ([(b"host", b"x")], None),
        ([(b"authorization", b"Bearer abc.def")], "abc.def"),
        ([(b"authorization", b"bearer   abc ")], "abc"),
        ([(b"x-api-key", b"rgk_1")], "rgk_1"),
        ([(b"authorization", basic("anyone", "rgk_1"))], "rgk_1"),
    ],
)
def test_a_credential_is_found_where_it_may_stand(headers: Any, text: str | None) -> None:
    found = credential_of(headers)
    assert (found and found.text) == text
    assert text is None or text not in repr(found)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"")], [(b"authorization", b"Bearer")], [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Digest x")], [(b"authorization", b"Basic !!")],
        [(b"authorization", b"Basic " + base64.b64encode(b"no colon"))],
        [(b"authorization", b"Bearer " + b"x" * 9000)], [(b"authorization", b"Bearer \xff")],
        [(b"authorization", b"Bearer a"), (b"x-api-key", b"b")],
        [(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")],
    ],
)  # fmt: skip
def test_what_is_no_credential_is_refused_and_never_taken_for_none(headers: Any) -> None:
    with pytest.raises(HttpProblem) as caught:
        credential_of(headers)
    assert caught.value.detail_code == "UNAUTHENTICATED"
    assert caught.value.headers["WWW-Authenticate"].startswith("Bearer ")


# API keys --------------------------------------------------------------------------------------


def test_a_key_is_recognised_by_its_whole_text_and_kept_as_a_hash(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "keys.json"
    text, key = make_key("ci", ("hr",), 1000.0, 60.0)
    with changing_keys(path) as keys:
        keys[key.id] = key
    assert path.stat().st_mode & 0o777 == 0o600
    assert text not in path.read_text()
    assert text.rpartition("_")[2] not in path.read_text()
    kept = read_keys(path)
    assert recognised(text, kept, 1059.0) == key
    assert recognised(text, kept, 1060.0) is None, "expired"
    other = text[:-1] + ("A" if text[-1] != "A" else "B")
    for wrong in (other, text[:-1], text + "A", "", f"rgk_{key.id}_", key.sha256, text.upper()):
        assert recognised(wrong, kept, 1001.0) is None
    assert recognised(make_key("x", (), 0, None)[0], kept, 1001.0) is None, "another's id"


def test_a_failed_change_of_the_key_file_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    _, key = make_key("one", (), 0, None)
    with changing_keys(path) as keys:
        keys[key.id] = key
    before = path.read_bytes()
    with contextlib.suppress(ZeroDivisionError), changing_keys(path) as keys:
        keys.clear()
        raise ZeroDivisionError
    assert path.read_bytes() == before
    path.write_text('{"keys": [{"id": 1}]}')
    with pytest.raises(SetupError):
        read_keys(path)


def test_a_revoked_key_is_refused_without_a_restart_and_a_broken_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.security.key_file.LOOK_AGAIN", 0.0)
    path = tmp_path / "keys.json"
    text, key = make_key("one", (), 0, None)
    file = KeyFile(path)

    async def go() -> None:
        assert await file.find(text) is None
        with changing_keys(path) as keys:
            keys[key.id] = key
        assert await file.find(text) == key
        path.write_text("broken")
        assert await file.find(text) == key
        path.unlink()
        assert await file.find(text) is None

    asyncio.run(go())


# Tokens ----------------------------------------------------------------------------------------

RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
RULES = TokenRules("https://issuer.example", "recordgate", ("RS256", "ES256"), "realm.roles", 5)


def jwk(private: Any, algorithm: str, **more: Any) -> dict[str, Any]:
    found = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    return {**found, **more}


def key_set(*keys: dict[str, Any]) -> bytes:
    return json.dumps({"keys": keys}).encode()


SET = key_set(jwk(RSA, "RS256", kid="r1", use="sig"), jwk(EC, "ES256", kid="e1"))


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    found = {
        "iss": "https://issuer.example", "aud": "recordgate", "sub": "ada", "exp": now + 60,
        "realm": {"roles": ["hr", 7]},
    } | changes  # fmt: skip
    return {k: v for k, v in found.items() if v is not None}


def token(
    private: Any = RSA, algorithm: str = "RS256", kid: str | None = "r1", **changes: Any
) -> str:
    header = {} if kid is None else {"kid": kid}
    return jwt.encode(claims(**changes), private, algorithm, headers=header)


def verifier(raw: bytes = SET, rules: TokenRules = RULES) -> TokenVerifier:
    source = KeySource(lambda: raw, rules.algorithms)
    source.load()
    return TokenVerifier(rules, source)


def test_a_good_token_names_its_subject_and_roles() -> None:
    async def go() -> None:
        subject = verifier()
        for text in (token(), token(EC, "ES256", "e1"), token(aud=["x", "recordgate"])):
            for _ in range(2):
                found = await subject.verify(text)
                assert found.subject == "ada"
                assert found.roles == {"hr"}
        # Without a kid there must be one key that can be meant.
        assert (await subject.verify(token(kid=None))).subject == "ada"
        two = key_set(jwk(RSA, "RS256", kid="r1"), jwk(OTHER_RSA, "RS256", kid="r2"))
        with pytest.raises(HttpProblem):
            await verifier(two).verify(token(kid=None))

    asyncio.run(go())


def _pem() -> bytes:
    return RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _hmac_by_public_key() -> str:
    """The confusion attack: HS256 with the public key's own text as the secret."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=")
        for p in ({"alg": "HS256", "kid": "r1"}, claims())
    ]
    body = b".".join(parts)
    mac = hmac.new(_pem(), body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


BAD_TOKENS = {
    "expired": lambda: token(exp=int(time.time()) - 6),
    "without an end": lambda: token(exp=None),
    "not valid yet": lambda: token(nbf=int(time.time()) + 60),
    "made for another service": lambda: token(iss="https://other.example"),
    "without an issuer": lambda: token(iss=None),
    "for another audience": lambda: token(aud="other"),
    "without an audience": lambda: token(aud=None),
    "without a subject": lambda: token(sub=None),
    "signed by another key": lambda: token(OTHER_RSA),
    "by an algorithm that is not pinned": lambda: token(RSA, "RS512"),
    "by another kind of key than its kid": lambda: token(EC, "ES256", "r1"),
    "unsigned": lambda: jwt.encode(claims(), None, "none", headers={"kid": "r1"}),  # type: ignore[arg-type]
    "HMAC by a secret": lambda: jwt.encode(claims(), "x" * 40, "HS256", headers={"kid": "r1"}),
    "HMAC by the public key": _hmac_by_public_key,
    "of an unknown key": lambda: token(kid="nobody"),
    "with a critical header": lambda: jwt.encode(
        claims(), RSA, "RS256", headers={"kid": "r1", "crit": ["exp"]}
    ),
    "changed": lambda: token()[:-4] + "AAAA",
    "cut": lambda: token().rpartition(".")[0],
    "no token": lambda: "abc",
}


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused_in_the_same_words_whatever_is_wrong(name: str) -> None:
    async def go() -> None:
        with pytest.raises(HttpProblem) as caught:
            await verifier().verify(BAD_TOKENS[name]())
        assert caught.value.detail_code == "UNAUTHENTICATED"
        assert caught.value.message == "the token is not valid"
        assert 'error="invalid_token"' in caught.value.headers["WWW-Authenticate"]

    asyncio.run(go())


def test_clocks_may_differ_by_the_leeway() -> None:
    async def go() -> None:
        now = int(time.time())
        assert await verifier().verify(token(exp=now - 2, nbf=now - 60))
        assert await verifier().verify(token(nbf=now + 3))

    asyncio.run(go())


def test_a_verified_token_is_not_remembered_beyond_its_end() -> None:
    async def go() -> None:
        subject = verifier(rules=TokenRules("i", "a", ("RS256",), leeway=0))
        text = token(iss="i", aud="a", exp=int(time.time()) + 2)
        await subject.verify(text)
        until = subject._kept.get(text)[0]
        assert until <= int(time.time()) + 2
        subject._kept.keep(text, (0.0, *subject._kept.get(text)[1:]))
        await asyncio.sleep(max(0.0, until - time.time()))
        with pytest.raises(HttpProblem):
            await subject.verify(text)

    asyncio.run(go())


def test_roles_are_read_from_a_claim_a_path_or_a_scope() -> None:
    assert roles_in({"roles": ["a", "b"]}, "roles") == {"a", "b"}
    assert roles_in({"scope": "a b"}, "scope") == {"a", "b"}
    assert roles_in({"https://x.example/roles": ["a"]}, "https://x.example/roles") == {"a"}
    assert roles_in({"a": {"b": ["c"]}}, "a.b") == {"c"}
    for claims_ in ({}, {"a": 1}, {"a": {"b": {"c": 1}}}, {"a": None}):
        assert roles_in(claims_, "a.b") == frozenset()


# Key sets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"[]", b"{}", b'{"keys": 1}', b'{"keys": []}', b'{"keys": [1, {}, {"kty": 5}]}', b"\xff",
        key_set({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
        key_set(jwk(RSA, "RS256", use="enc")), key_set(jwk(RSA, "RS256", alg="HS256")),
        key_set(jwk(rsa.generate_private_key(65537, 1024), "RS256")),
        key_set({**jwk(EC, "ES256"), "x": "AAAA"}), key_set({**jwk(RSA, "RS256"), "n": 5}),
    ],
)  # fmt: skip
def test_a_set_without_a_usable_key_is_refused(raw: bytes) -> None:
    with pytest.raises(SetupError):
        read_key_set(raw, ALGORITHMS)


def test_a_new_key_is_asked_for_once_an_interval_and_a_removed_one_is_forgotten() -> None:
    sets = [key_set(jwk(RSA, "RS256", kid="r1"))]
    asked = 0

    def read() -> bytes:
        nonlocal asked
        asked += 1
        return sets[0]

    async def go() -> None:
        source = KeySource(read, RULES.algorithms, again=0.2)
        subject = TokenVerifier(RULES, source)
        old, new = token(), token(OTHER_RSA, kid="r2")
        await subject.verify(old)
        assert asked == 1
        sets[0] = key_set(jwk(OTHER_RSA, "RS256", kid="r2"))
        for _ in range(20):
            with pytest.raises(HttpProblem):
                await subject.verify(token(kid="unknown"))
        assert asked == 1, "the interval is not over"
        await asyncio.sleep(0.25)
        found = await asyncio.gather(*(subject.verify(new) for _ in range(10)))
        assert {f.subject for f in found} == {"ada"}
        assert asked == 2, "ten at once ask once"
        with pytest.raises(HttpProblem):
            await subject.verify(old)

    asyncio.run(go())


def test_a_set_that_cannot_be_had_is_an_error_of_its_own_and_a_known_one_is_kept() -> None:
    answer: list[bytes] = []

    def read() -> bytes:
        if not answer:
            raise OSError("down")
        return answer[0]

    async def go() -> None:
        source = KeySource(read, RULES.algorithms, again=0.0, renew=0.0)
        with pytest.raises(StoreUnavailable):
            await TokenVerifier(RULES, source).verify(token())
        known = KeySource(read, RULES.algorithms, again=0.0, renew=0.0)
        answer.append(SET)
        known.load()
        answer.clear()
        subject = TokenVerifier(RULES, known)
        for _ in range(3):
            assert (await subject.verify(token())).subject == "ada"
            await asyncio.sleep(0.01)

    asyncio.run(go())


def test_a_url_must_be_safe() -> None:
    for url in ("http://idp.example/jwks", "ftp://x/y", "https://user:pass@idp.example/jwks"):
        with pytest.raises(SetupError):
            reader(url)
    reader("https://idp.example/jwks")
    reader("http://127.0.0.1:1/jwks")


# Callers ---------------------------------------------------------------------------------------


def test_a_caller_gets_its_rate_and_its_burst_and_others_are_not_touched() -> None:
    now = [0.0]
    refused: list[tuple[str, int]] = []
    callers = Callers(rate=2, burst=3, most=10, clock=lambda: now[0])

    def ask(name: str) -> bool:
        try:
            callers.leave(callers.enter(name))
        except HttpProblem as error:
            refused.append((error.detail_code, int(error.headers["Retry-After"])))
            return False
        return True

    assert [ask("a") for _ in range(4)] == [True, True, True, False]
    assert ask("b")
    now[0] += 0.5
    assert [ask("a"), ask("a")] == [True, False]
    now[0] += 100
    assert [ask("a") for _ in range(4)] == [True, True, True, False]
    assert refused == [("RATE_LIMITED", 1)] * 3


def test_a_caller_has_so_many_requests_at_once() -> None:
    callers = Callers(most=2)
    first, _ = callers.enter("a"), callers.enter("a")
    with pytest.raises(HttpProblem):
        callers.enter("a")
    callers.enter("b")
    callers.leave(first)
    callers.enter("a")


def test_streams_are_counted_apart_from_requests() -> None:
    callers = Callers(most=1, streams=2)
    callers.enter("a")
    first = callers.enter("a", stream=True)
    callers.enter("a", stream=True)
    with pytest.raises(HttpProblem):
        callers.enter("a", stream=True)
    callers.leave(first, stream=True)
    callers.enter("a", stream=True)
    with pytest.raises(HttpProblem):
        callers.enter("a")


def test_callers_are_forgotten_in_the_end_but_not_while_they_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.security.callers.KEPT", 5)
    callers = Callers(most=1)
    callers.enter("busy")
    for i in range(50):
        callers.leave(callers.enter(f"caller {i}"))
    assert len(callers._callers) <= 6
    with pytest.raises(HttpProblem):
        callers.enter("busy")


# WebSockets ------------------------------------------------------------------------------------


def connected(rules: Rules, *headers: tuple[bytes, bytes], origins: tuple[str, ...] = ()) -> bool:
    """Whether a WebSocket with these headers comes through the door."""
    sent: list[dict[str, Any]] = []
    passed: list[Viewer] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        passed.append(scope["state"]["viewer"])

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    access = Access(Authenticator(LIBRARY, rules), origins=origins)
    scope = {
        "type": "websocket", "path": "/graphql", "headers": [(b"host", b"localhost:80"), *headers],
        "client": ("127.0.0.1", 5),
    }  # fmt: skip
    asyncio.run(AccessMiddleware(app, access=access, count=lambda _: None)(scope, receive, send))
    assert bool(passed) is not bool(sent)
    assert all(m["type"] == "websocket.close" for m in sent)
    return bool(passed)


def test_a_websocket_needs_a_credential_and_a_page_of_this_origin() -> None:
    anybody, nobody = Rules(), Rules(Anonymous.NO)
    assert connected(anybody)
    assert not connected(nobody)
    assert not connected(anybody, (b"authorization", b"Bearer rgk_wrong"))
    assert connected(anybody, (b"origin", b"http://localhost:80"))
    for origin in (b"https://evil.example", b"http://localhost:81", b"null"):
        assert not connected(anybody, (b"origin", origin))
    allowed = (b"origin", b"https://app.example")
    assert connected(anybody, allowed, origins=("https://app.example",))
    assert connected(anybody, allowed, origins=("*",))
    assert not connected(Rules(local=True), (b"host", b"evil.example"))


def test_masks_of_postgres_and_ours_are_the_same(database: str) -> None:
    prop = replace(
        next(p for p in LIBRARY.types["person"].properties if p.name == "email"), partial=(2, 3)
    )
    key = MaskKey.of(b"a secret of the tests, long enough")
    values = ["", "a", "abcdefg", "abcdefgh", "é" * 9, "\U0001f600" * 12, "o'x\\" * 3, None]
    with psycopg.connect(database) as conn:
        for form in (Form.HASH, Form.PARTIAL, Form.NULL):
            keys = (sql.SQL("%(inner)s::bytea"), sql.SQL("%(outer)s::bytea"))
            text = masked_sql(prop, sql.SQL("%(value)s::text"), form, lambda keys=keys: keys)
            for value in values:
                ours = masked(prop, value, form, key)
                if text is None:
                    assert ours is None
                    continue
                given = {"value": value, "inner": key.inner, "outer": key.outer}
                row = conn.execute(sql.SQL("SELECT ") + text, given).fetchone()
                assert row == (ours,), (form, value)
    assert repr(key) == "MaskKey(…)"
