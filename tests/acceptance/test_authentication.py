"""Who asks is known at every door or is nobody; what is safe needs no setting; what a role may do,
it may do by each way alike."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.routing import Route

from gateway.security.access import ASSETS, OPEN, Access
from gateway.security.authenticate import Anonymous, Authenticator, Rules
from gateway.security.key_file import KeyFile
from gateway.security.key_sets import KeySource, reader
from gateway.security.tokens import TokenRules, TokenVerifier
from recordgate.access import authenticator, trusted_documents
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import SetupError
from tests.acceptance.access_rig import RESTRICTED, bearer, keys_for, run, settings, with_keys
from tests.acceptance.gateway_rig import GEONAMES, Rig


def test_no_door_but_health_opens_without_a_credential(
    database: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, (key,) = keys_for(tmp_path, ("hr",))
    caplog.set_level(logging.DEBUG)

    async def go(rig: Rig) -> None:
        app = rig.client._transport.app  # type: ignore[attr-defined]
        doors = {r.path.replace("{type}", "person") for r in app.routes if isinstance(r, Route)}
        assert len(doors) > 8
        for door in sorted(doors | {"/nothing/here"}):
            for method in ("GET", "POST"):
                answer = await rig.client.request(method, door, json={"query": "{ __typename }"})
                if door in OPEN or door.startswith(ASSETS):
                    continue
                assert answer.status_code == 401, (method, door, answer.text)
                assert answer.json()["code"] == "UNAUTHENTICATED"
                assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        for wrong in (key[:-1], "rgk_x", "a.b.c", ""):
            answer = await rig.client.get("/search/person?q=", headers=bearer(wrong))
            assert answer.status_code == 401
            assert key[-20:] not in answer.text
        page = await rig.client.get("/console", headers={"Accept": "text/html"})
        assert page.headers["WWW-Authenticate"].startswith("Basic ")
        for headers in (bearer(key), {"X-API-Key": key}):
            assert (await rig.client.get("/search/person?q=", headers=headers)).status_code == 200
        assert (await rig.client.get("/console", auth=("any", key))).status_code == 200
        assert (await rig.client.get("/metrics", headers=bearer(key))).status_code == 200
        assert key.rpartition("_")[2] not in caplog.text

    run(database, tmp_path, go, with_keys(path))


def test_a_key_sees_what_its_roles_see_and_the_contract_knows_the_roles(
    database: str, tmp_path: Path
) -> None:
    path, (hr, staff, none, stranger) = keys_for(
        tmp_path, ("hr",), ("staff",), (), ("admin", "offline_access")
    )

    async def go(rig: Rig) -> None:
        async def person(key: str) -> Any:
            query = '{ person(id: "1") { salary email } departments { totalCount } }'
            return (await rig.graphql(query, headers=bearer(key)))["data"]

        everything = {"salary": 91000, "email": "ada.quill@example.org"}
        assert await person(hr) == {"person": everything, "departments": {"totalCount": 2}}
        masked = {"salary": None, "email": "a***"}
        assert await person(staff) == {"person": masked, "departments": {"totalCount": 1}}
        nothing = {"person": {"salary": None, "email": None}, "departments": {"totalCount": 0}}
        assert await person(none) == nothing
        assert await person(stranger) == nothing, "an unknown role sees no more than none"

    run(database, tmp_path, go, with_keys(path))


class Provider(BaseHTTPRequestHandler):
    """An identity provider's JWK set, as `jwks` has it now."""

    jwks: bytes = b""
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/jwks")
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.jwks)

    def log_message(self, *_: Any) -> None:
        pass


def test_tokens_are_verified_by_the_keys_of_a_url_also_after_they_are_rotated(
    database: str, tmp_path: Path
) -> None:
    first, second = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def published(private: Any, kid: str) -> bytes:
        key = jwt.get_algorithm_by_name("ES256").to_jwk(private.public_key(), as_dict=True)
        return json.dumps({"keys": [{**key, "kid": kid}]}).encode()

    def token(private: Any, kid: str, *roles: str) -> str:
        claims = {
            "iss": "https://idp.example", "aud": "recordgate", "sub": "ada", "roles": roles,
            "exp": int(time.time()) + 60,
        }  # fmt: skip
        return jwt.encode(claims, private, "ES256", headers={"kid": kid})

    server = HTTPServer(("127.0.0.1", 0), Provider)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"

    def access(contract: Contract) -> Access:
        rules = TokenRules("https://idp.example", "recordgate", ("ES256",))
        tokens = TokenVerifier(rules, KeySource(reader(f"{url}/jwks"), ("ES256",), again=0.05))
        return Access(Authenticator(contract, Rules(Anonymous.NO), tokens=tokens))

    async def go(rig: Rig) -> None:
        async def salary(text: str) -> Any:
            answer = await rig.client.post(
                "/graphql",
                json={"query": '{ person(id: "1") { salary } }'},
                headers=bearer(text),
            )
            return (
                answer.json()["data"]["person"]["salary"]
                if answer.is_success
                else answer.status_code
            )

        Provider.jwks = published(first, "one")
        old = token(first, "one", "hr")
        assert await salary(old) == 91000
        assert await salary(token(first, "one", "staff")) is None
        assert await salary(token(second, "two", "hr")) == 401
        Provider.jwks = published(second, "two")
        await asyncio.sleep(0.1)
        assert await salary(token(second, "two", "hr")) == 91000
        assert await salary(old) == 401, "its key is published no more"

    try:
        run(database, tmp_path, go, access)
        with pytest.raises(SetupError):
            reader(f"{url}/moved")()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# What is safe without a setting ----------------------------------------------------------------


def test_without_authentication_a_gateway_answers_on_this_machine_only(tmp_path: Path) -> None:
    contract = load_contract(GEONAMES)
    for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"):
        assert authenticator(settings(tmp_path, host=host), contract).rules.anonymous == "write"
    for host in ("0.0.0.0", "::", "10.1.2.3", "example.org"):
        with pytest.raises(SetupError, match="no authentication is configured"):
            authenticator(settings(tmp_path, host=host), contract)
        for allowed in ("read", "write"):
            given = settings(tmp_path, host=host, anonymous=allowed)
            assert authenticator(given, contract).rules.anonymous == allowed
    keys_for(tmp_path, ())
    (tmp_path / "keys.json").rename(tmp_path / "api_keys.json")
    for host in ("127.0.0.1", "0.0.0.0"):
        found = authenticator(settings(tmp_path, host=host), contract)
        assert found.rules.anonymous == "no"
        assert found.keys


@pytest.mark.parametrize(
    "values",
    [
        {"jwks": "/nowhere"}, {"jwt_issuer": "x"}, {"jwks": "http://idp.example/jwks"},
        {"jwks": "/nowhere", "jwt_issuer": "x", "jwt_audience": "y"},
        {"jwks": "http://idp.example/k", "jwt_issuer": "x", "jwt_audience": "y"},
        {"jwks": "https://idp.example/k", "jwt_issuer": "x", "jwt_audience": "y", "jwt_algorithms": "HS256"},
        {"jwks": "https://idp.example/k", "jwt_issuer": "x", "jwt_audience": "y", "jwt_algorithms": "none"},
        {"anonymous_roles": "nobody"}, {"operator_roles": "nobody"}, {"introspection_roles": "nobody"},
        {"anonymous_roles": "*"}, {"trusted_only": True}, {"trusted_documents": "/nowhere"},
    ],
)  # fmt: skip
def test_settings_that_would_not_hold_are_refused_at_the_start(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    def start() -> None:
        given = settings(tmp_path, **values)
        authenticator(given, load_contract(GEONAMES))
        trusted_documents(given)

    with pytest.raises(SetupError):
        start()


def test_a_page_of_another_name_cannot_ask_a_gateway_without_authentication(
    database: str, tmp_path: Path
) -> None:
    def access(contract: Contract) -> Access:
        return Access(authenticator(settings(tmp_path), contract))

    async def go(rig: Rig) -> None:
        for host in ("localhost", "localhost:8080", "127.0.0.1:1", "[::1]:80", "[::1]"):
            answer = await rig.client.get("/graphql?query={__typename}", headers={"Host": host})
            assert answer.status_code == 200, host
        for host in (
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil",
            "",
        ):
            answer = await rig.client.get("/graphql?query={__typename}", headers={"Host": host})
            assert answer.status_code == 403, host

    run(database, tmp_path, go, access, contract=GEONAMES, rows="")


def test_the_command_makes_lists_and_revokes_keys_and_a_gateway_on_all_addresses_needs_one(
    tmp_path: Path,
) -> None:
    config = tmp_path / "recordgate.toml"
    config.write_text(
        f"contract = {json.dumps(str(RESTRICTED))}\ndata_dir = 'data'\npostgres = 'postgresql://nobody@127.0.0.1:1/x'\n"
    )

    def recordgate(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "recordgate", "--config", str(config), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
        )

    refused = recordgate("serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.returncode == 1
    assert "SETUP: host 0.0.0.0 is reachable from other machines" in refused.stderr
    unknown = recordgate("keys", "create", "--role", "boss")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    made = recordgate("keys", "create", "--role", "hr", "--name", "ci", "--expires", "90d")
    text = made.stdout.strip()
    assert made.returncode == 0
    listed = recordgate("keys", "list", "--json")
    (shown,) = json.loads(listed.stdout)
    assert (shown["name"], shown["roles"]) == ("ci", ["hr"])
    assert text.rpartition("_")[2] not in listed.stdout
    keys = KeyFile(tmp_path / "data" / "api_keys.json")
    found = asyncio.run(keys.find(text))
    assert found is not None
    assert found.id == shown["id"]
    later = recordgate("serve", "--host", "0.0.0.0", "--port", "0")
    assert "is reachable from other machines" not in later.stderr, "there is a key now"
    assert recordgate("keys", "revoke", shown["id"]).returncode == 0
    assert recordgate("keys", "revoke", shown["id"]).returncode == 1
    assert recordgate("keys", "list", "--json").stdout.strip() == "[]"


# What roles may do -----------------------------------------------------------------------------

EDITED = """
    customProperties:
      - {property: expose, vendor: recordgate, value: {roles: {write: [hr], search: [hr], list: [hr, staff], get: [hr, staff], aggregate: [], export: [hr]}}}
"""


def edited_contract(folder: Path) -> Path:
    """Departments that only hr writes, searches and exports, nobody aggregates; hr also writes."""
    text = RESTRICTED.read_text("utf-8").replace(
        "{role: hr, access: read}", "{role: hr, access: write}"
    )
    head, mark, tail = text.partition("    customProperties:\n")
    roles = EDITED.strip("\n").partition("\n")[2]
    path = folder / "edited.odcs.yaml"
    path.write_text(f"{head}{mark}{roles}\n{tail}")
    return path


def test_an_operation_of_some_roles_is_shut_to_others_by_every_way(
    database: str, tmp_path: Path
) -> None:
    path, (hr, staff, none) = keys_for(tmp_path, ("hr",), ("staff",), ())

    async def go(rig: Rig) -> None:
        async def code(key: str, query: str) -> str:
            answer = await rig.graphql(query, headers=bearer(key))
            return answer["errors"][0]["extensions"]["code"] if "errors" in answer else "OK"

        async def status(key: str, path: str) -> int:
            return (await rig.client.get(path, headers=bearer(key))).status_code

        expected = {hr: "OK", staff: "OK", none: "FORBIDDEN"}
        for key, answer in expected.items():
            for query in (
                '{ department(id: "pub") { name } }',
                '{ node(id: "Department:pub") { nodeId } }',
                "{ departments { totalCount } }",
                '{ person(id: "1") { department { name } } }',
                "{ people { nodes { department { code } } } }",
                '{ people(filter: {department: {code: {eq: "pub"}}}) { totalCount } }',
                "{ people(orderBy: [{department: {name: ASC}}]) { totalCount } }",
            ):
                assert await code(key, query) == answer, query
        for key in expected:
            only_hr = "OK" if key == hr else "FORBIDDEN"
            assert await code(key, '{ searchDepartments(query: "") { totalCount } }') == only_hr
            assert await code(key, "{ departmentsAggregate { count } }") == "FORBIDDEN"
            assert await status(key, "/search/department?q=") == (200 if key == hr else 403)
            assert await status(key, "/suggest/department?q=l") == (200 if key == hr else 403)
            assert await status(key, "/export/department") == (200 if key == hr else 403)
            for text in (
                'createDepartment(input: {code: "n", open: true, name: "N"}) { token }',
                'createDepartments(input: [{code: "m", open: true, name: "M"}]) { token }',
                'upsertDepartments(input: [{code: "n", open: true, name: "N"}]) { token }',
                'updateDepartment(id: "n", input: {name: "O"}) { token }',
                'deleteDepartment(id: "n") { deleted }',
                'deleteDepartments(filter: {code: {eq: "m"}}, max: 1) { count }',
            ):
                assert await code(key, f"mutation {{ {text} }}") == only_hr, text
            # hr alone has a role that writes at all.
            assert (
                await code(key, 'mutation { updatePerson(id: "1", input: {name: "A"}) { token } }')
                == only_hr
            )
        shown = (await rig.client.get("/search/person?q=", headers=bearer(none))).json()
        assert "department" not in shown["hits"][0]["record"]

    run(database, tmp_path, go, with_keys(path), contract=edited_contract(tmp_path))


def test_anonymous_callers_have_the_roles_of_the_setting_and_read_or_write_by_it(
    database: str, tmp_path: Path
) -> None:
    def access(contract: Contract) -> Access:
        given = settings(tmp_path, host="0.0.0.0", anonymous="read", anonymous_roles="hr")
        return Access(authenticator(given, contract))

    async def go(rig: Rig) -> None:
        answer = await rig.graphql('{ person(id: "1") { salary } }')
        assert answer["data"]["person"]["salary"] == 91000
        answer = await rig.graphql('mutation { deletePerson(id: "1") { deleted } }')
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"

    run(database, tmp_path, go, access)


def test_the_schema_and_the_console_are_open_to_the_roles_that_the_settings_name(
    database: str, tmp_path: Path
) -> None:
    path, (hr, staff) = keys_for(tmp_path, ("hr",), ("staff",))
    access = with_keys(path, introspection=frozenset({"hr"}), operators=frozenset({"hr"}))

    async def go(rig: Rig) -> None:
        for door in (
            "/schema.graphql",
            "/openapi.json",
            "/product",
            "/contract",
            "/graphiql/samples",
            "/metrics",
            "/console/state",
        ):
            assert (await rig.client.get(door, headers=bearer(hr))).status_code == 200, door
            assert (await rig.client.get(door, headers=bearer(staff))).status_code == 403, door
        for query in (
            "{ __schema { types { name } } }", '{ __type(name: "Person") { name } }',
            '{ x: __type(name: "Person") { ...F } } fragment F on __Type { name }',
            "{ ... on Query { __schema { queryType { name } } } }",
            "query A { __typename } query B { __schema { queryType { name } } }",
        ):  # fmt: skip
            body = {"query": query, "operationName": "B" if "query B" in query else None}
            open_, shut = [
                (await rig.client.post("/graphql", json=body, headers=bearer(k))).json()
                for k in (hr, staff)
            ]
            assert "errors" not in open_, open_
            assert shut["errors"][0]["extensions"]["code"] == "FORBIDDEN"
            assert "data" not in shut
        assert (await rig.graphql("{ __typename }", headers=bearer(staff)))["data"]
        wrong = "{ people { nodes { salery } } }"
        told = await rig.graphql(wrong, headers=bearer(hr))
        assert "Did you mean 'salary'" in told["errors"][0]["message"]
        for query in (wrong, "query ($f: PersonFilter) { people(filter: $f) { totalCount } }"):
            untold = await rig.graphql(query, {"f": {"salery": {"eq": 1}}}, headers=bearer(staff))
            assert "salary" not in json.dumps(untold)
        explain = {"Recordgate-Explain": "1"}
        answers = [
            await rig.graphql("{ people { totalCount } }", headers=bearer(k) | explain)
            for k in (hr, staff)
        ]
        assert ["plan" in a["extensions"]["recordgate"] for a in answers] == [True, False]

    run(database, tmp_path, go, access)


def test_readiness_tells_everybody_the_status_and_operators_why(
    database: str, tmp_path: Path
) -> None:
    path, (operator, other) = keys_for(tmp_path, ("hr",), ("staff",))

    async def go(rig: Rig) -> None:
        async def asked(**headers: str) -> Any:
            answer = await rig.client.get("/health/ready", headers=headers)
            assert answer.status_code == 200
            return answer.json()

        for _ in range(200):  # probes count against nobody
            assert await asked() == {"status": "ready"}
        for text in (other, "rg_nobody_knows_it", ""):
            assert await asked(**bearer(text)) == {"status": "ready"}
        full = await asked(**bearer(operator))
        assert set(full) == {"status", "stores", "types", "conditions"}
        assert full["types"]["person"]["search"]["state"] == "loaded"
        assert (await rig.client.get("/metrics")).status_code == 401, "no other door is open"

    run(database, tmp_path, go, with_keys(path, operators=frozenset({"hr"})))
