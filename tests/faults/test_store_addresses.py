"""What a URL of a store can have wrong: host, certificate, login, release. Each is our error with a
hint and no secret in it, and `doctor` names it."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bson
import pytest

from stores.errors import RecordgateError, StoreRefused, StoreUnavailable
from stores.registry import open_store
from tests.acceptance.test_up import command, settings
from tests.conformance.store_backends import held, outcomes, publish
from tests.conformance.store_contract import CONTRACT, put
from tests.listening import listening
from tests.servers import remove_elasticsearch_indexes
from tests.tls_endpoint import Authority, tls_endpoint

pytestmark = pytest.mark.servers
KINDS = ("elasticsearch", "mongodb")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def port_of(request: pytest.FixtureRequest, kind: str) -> int:
    """The port of the run's server of `kind`."""
    port = urlsplit(request.getfixturevalue(f"{kind}_url")).port
    assert port is not None
    return port


def url(kind: str, port: int, name: str, ca: Path | None, host: str = "127.0.0.1") -> str:
    """A store's URL with TLS, which trusts what `ca` signs."""
    if kind == "elasticsearch":
        return f"elasticsearch+https://{host}:{port}/{name}" + (f"?ca={ca}" if ca else "")
    more = f"&tlsCAFile={ca}" if ca else ""
    return f"mongodb://{host}:{port}/{name}?tls=true&serverSelectionTimeoutMS=3000{more}"


async def refusal(address: str) -> RecordgateError:
    """The error that the store opens with."""
    store = open_store(address, Path())
    try:
        with pytest.raises(RecordgateError) as told:
            await store.open(CONTRACT, write=True)
        health = await store.health()
        assert not health.ok
        assert health.problem
    finally:
        await store.close()
    return told.value


@pytest.mark.parametrize("kind", KINDS)
def test_a_certificate_of_an_authority_that_the_url_names_is_accepted(
    request: pytest.FixtureRequest, authority: Authority, kind: str
) -> None:
    name = f"t{secrets.token_hex(8)}"

    async def story(port: int) -> None:
        store = open_store(url(kind, port, name, authority.file), Path())
        await store.open(CONTRACT, write=True)
        try:
            await store.create_generation("author", 1)
            await store.activate("author", 1)
            assert [v.value for v in await outcomes(store, [put("a", 1), put("b", 2)])] == [
                "applied",
                "applied",
            ]
            await publish(store, 5)
            assert await held(store) == {"a": 1, "b": 2}
        finally:
            await store.close()

    server = port_of(request, kind)
    with tls_endpoint(authority.certificate(), server) as port:
        asyncio.run(story(port))
    if kind == "elasticsearch":
        remove_elasticsearch_indexes(f"elasticsearch://127.0.0.1:{server}/{name}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["expired", "another host's", "of an unknown authority"])
def test_a_certificate_that_is_not_good_is_told_with_what_to_do(
    request: pytest.FixtureRequest, authority: Authority, kind: str, wrong: str
) -> None:
    made = {
        "expired": authority.certificate(days=-1),
        "another host's": authority.certificate(host="elsewhere.example"),
        "of an unknown authority": authority.certificate(),
    }[wrong]
    trusted = None if wrong == "of an unknown authority" else authority.file
    with tls_endpoint(made, port_of(request, kind)) as port:
        error = asyncio.run(refusal(url(kind, port, "records", trusted)))
    assert "certificate" in error.message
    assert error.hint


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_without_tls_or_a_host_that_is_not_there_is_not_reached(
    request: pytest.FixtureRequest, authority: Authority, kind: str
) -> None:
    error = asyncio.run(refusal(url(kind, port_of(request, kind), "records", authority.file)))
    assert isinstance(error, StoreUnavailable)
    nowhere = url(kind, 9, "records", authority.file, host="nowhere.invalid")
    error = asyncio.run(refusal(nowhere))
    assert isinstance(error, StoreUnavailable)
    assert "nowhere.invalid" in error.message


# A server of MongoDB's protocol that answers as we need it: those to be had here know no accounts,
# and are not old.


@contextmanager
def wire(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Iterator[int]:
    """A port that answers each OP_MSG and OP_QUERY by `answer` of its command."""

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError, struct.error), connection.makefile("rb") as stream:
            while head := stream.read(16):
                length, number, _, code = struct.unpack("<iiii", head)
                body = stream.read(length - 16)
                if code == 2013:  # OP_MSG: flags, a section of kind 0
                    reply = b"\0" * 5 + bson.encode(answer(bson.decode(body[5:])))
                    opcode = 2013
                else:  # OP_QUERY: flags, collection, skip, count
                    found = bson.decode(body[body.index(b"\0", 4) + 9 :])
                    reply = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(answer(found))
                    opcode = 1
                connection.sendall(struct.pack("<iiii", 16 + len(reply), 1, number, opcode) + reply)

    with listening(serve) as port:
        yield port


def server_of(wire_version: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def answer(asked: dict[str, Any]) -> dict[str, Any]:
        command_name = next(iter(asked)).lower()
        if command_name in ("hello", "ismaster"):
            return {
                "ok": 1,
                "ismaster": True,
                "isWritablePrimary": True,
                "minWireVersion": 0,
                "maxWireVersion": wire_version,
                "saslSupportedMechs": ["SCRAM-SHA-256"],
            }
        if command_name == "saslstart":
            said = "Authentication failed for s3cret"
            return {"ok": 0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": said}
        return {"ok": 0, "code": 13, "codeName": "Unauthorized", "errmsg": "s3cret"}

    return answer


def test_a_wrong_password_of_mongodb_is_told(tmp_path: Path) -> None:
    with wire(server_of(25)) as port:
        error = asyncio.run(refusal(f"mongodb://u:s3cret@127.0.0.1:{port}/records"))
    assert isinstance(error, StoreRefused)
    assert "account" in error.message
    assert "password" in error.hint
    assert "s3cret" not in str(error)


def test_a_mongodb_that_is_too_old_is_told() -> None:
    with wire(server_of(6)) as port:
        error = asyncio.run(refusal(f"mongodb://127.0.0.1:{port}/records"))
    assert isinstance(error, StoreRefused)
    assert "MongoDB 5.0 or newer" in error.hint


def test_doctor_names_what_is_wrong_with_both_stores(
    request: pytest.FixtureRequest, database: str, authority: Authority, tmp_path: Path
) -> None:
    expired = authority.certificate(days=-1)
    server = port_of(request, "elasticsearch")
    with tls_endpoint(expired, server) as port, wire(server_of(25)) as mongodb:
        file = settings(tmp_path, database, name="addresses")
        with file.open("a") as more:
            search = url("elasticsearch", port, "t", authority.file)
            more.write(f"search = {json.dumps(search)}\n")
            more.write(f'documents = "mongodb://u:s3cret@127.0.0.1:{mongodb}/records"\n')
        told = command(file, "doctor", "--json")
    assert told.returncode == 1
    checks = {c["name"]: c for c in json.loads(told.stdout)["checks"]}
    assert "certificate" in checks["search"]["saw"]
    assert "account" in checks["documents"]["saw"]
    assert checks["search"]["hint"]
    assert checks["documents"]["hint"]
    assert "s3cret" not in told.stdout + told.stderr
