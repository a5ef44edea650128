"""An export of another product that is cut off, is no export, or lacks the property is said to be
so: it is never counted as records that are missing there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from recordgate.foreign import dangling, foreign_relations
from stores.canonical.connect import connect
from stores.contract.load import load_contract
from stores.errors import StoreUnavailable
from tests.acceptance.gateway_rig import prepare
from tests.acceptance.test_federation import AIRPORTS, FEDERATION

GOOD = b'{"geonameid": 2988507}\n'
CHUNK = b"%x\r\n%s\r\n" % (len(GOOD), GOOD)
ANSWERS = {
    "/whole/": (b"", GOOD),
    "/cut/": (b"Transfer-Encoding: chunked\r\n", CHUNK),
    "/short/": (b"Content-Length: 999\r\n", GOOD),
    "/list/": (b"", b"[1]\n"),
    "/renamed/": (b"", b'{"id": 2988507}\n'),
    "/page/": (b"", b"<html>sign in</html>\n"),
    "/void/": (b"", b'{"geonameid": "a\\u0000b"}\n'),
}
MISSING = {"/whole/": 2, "/void/": 3}
"""Of the exports that are whole, how many records name one that is not there."""


class Hostile(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        headers, body = ANSWERS[self.path.partition("export")[0]]
        self.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n%s\r\n%s" % (headers, body))

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def upstream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_export_that_is_cut_off_or_is_none_is_named_and_never_counted(
    database: str, upstream: str
) -> None:
    contract = load_contract(FEDERATION / "airports.odcs.yaml")
    prepare(database, contract, AIRPORTS)
    ((airport, city),) = foreign_relations(contract)
    with connect(database) as conn:
        for path in ANSWERS:
            there = replace(city, contract=f"{upstream}{path}contract")
            if path in MISSING:
                told = dangling(conn, airport, there)
                assert (told.records, told.missing) == (3, MISSING[path])
                continue
            with pytest.raises(StoreUnavailable, match="cannot be read") as refused:
                dangling(conn, airport, there)
            assert refused.value.hint
