"""`/product` and `/contract` say what the caller may read of the product, in a form that others
read, and no more."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from gateway.security.authenticate import Anonymous
from stores.contract.lint import check_texts
from tests.acceptance.access_rig import bearer, keys_for, run, with_keys
from tests.acceptance.gateway_rig import Rig
from tests.changes_world import contract_file, hospital


def properties(document: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = (s for s in document["schema"] if s["name"] == name)
    return {p["name"]: p for p in found["properties"]}


def test_a_contract_is_one_that_a_consumer_can_load_and_has_what_the_caller_sees(
    database: str, tmp_path: Path
) -> None:
    path, (hr, staff) = keys_for(tmp_path, ("hr",), ("staff",))

    async def go(rig: Rig) -> None:
        async def said(key: str, path: str = "/contract") -> dict[str, Any]:
            answer = await rig.client.get(path, headers=bearer(key))
            assert answer.headers["content-type"] == "application/json"
            found: dict[str, Any] = answer.json()
            return found

        for key in (hr, staff):
            loaded, findings = check_texts({"c.yaml": json.dumps(await said(key))})
            assert loaded is not None, findings
            assert not [f for f in findings if f.severity == "error"]
            own = rig.services.contract.types["person"]
            for name, prop in loaded.types["person"].by_name.items():
                wanted = own.by_name[name]
                assert (prop.scalar, prop.array, prop.sql_type) == (
                    wanted.scalar, wanted.array, wanted.sql_type,
                )  # fmt: skip
            assert [p.name for p in loaded.types["person"].key_properties] == ["id"]
            assert loaded.types["person"].relation_by_name["department"].target == "department"
        everything = properties(await said(hr), "person")
        less = properties(await said(staff), "person")
        assert {"salary", "diagnosis"} <= everything.keys()
        assert not {"salary", "diagnosis"} & less.keys()
        for hidden in ("rowFilter", "readRoles", "departments", "department_code", "salary"):
            assert hidden not in json.dumps(await said(staff)), hidden
        # It is fetched by its ETag, which is another for who sees something else.
        first = await rig.client.get("/contract", headers=bearer(staff))
        tag = {"If-None-Match": first.headers["etag"]}
        again = await rig.client.get("/contract", headers=bearer(staff) | tag)
        assert (again.status_code, again.content) == (304, b"")
        assert (await rig.client.get("/contract", headers=bearer(hr) | tag)).status_code == 200
        for path in ("/contract", "/product"):
            assert (await rig.client.get(path)).status_code == 401
            assert (await rig.client.post(path, headers=bearer(hr))).status_code == 405
            assert (await rig.client.get(f"{path}?x=1", headers=bearer(hr))).status_code == 400
            assert (await rig.client.head(path, headers=bearer(hr))).content == b""

    run(database, tmp_path, go, with_keys(path, anonymous=Anonymous.NO))


def test_a_products_ports_are_the_doors_that_the_caller_may_use(
    database: str, tmp_path: Path
) -> None:
    async def main() -> None:
        async with hospital(database, tmp_path, contract=contract_file(tmp_path)) as (rig, headers):
            ports = {}
            for role in ("admin", "guest"):
                product = (await rig.client.get("/product", headers=headers[role])).json()
                assert (product["apiVersion"], product["kind"]) == ("v1.0.0", "DataProduct")
                assert product.keys() <= {
                    "apiVersion", "kind", "id", "name", "version", "status", "description",
                    "outputPorts",
                    "managementPorts",
                }  # fmt: skip
                assert all(
                    {"name", "version", "contractId"} <= p.keys() for p in product["outputPorts"]
                )
                assert all({"name", "content"} <= p.keys() for p in product["managementPorts"])
                ports[role] = {p["name"] for p in product["outputPorts"]}
            wanted = {f"{t}-{d}" for t in ("ward", "patient") for d in ("export", "changes")}
            assert ports["guest"] == wanted | {"graphql", "note-export"}
            assert ports["admin"] == ports["guest"] | {"visit-export", "visit-changes"}

    asyncio.run(main())
