"""A server that gives records page by page, and does to its callers what servers do: it repeats
itself, breaks off, answers with HTML, goes away, asks to be left alone. Real HTTP on 127.0.0.1."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    """Bytes of the body that are promised and never sent."""


@dataclass
class Asked:
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class HostileSource:
    """`records` are given `size` at a time. `answer` may put something else in the place of a
    reply."""

    records: list[dict[str, Any]] = field(default_factory=list)
    size: int = 10
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked, int], Reply | None] = lambda asked, nth: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reply(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        special = self.answer(asked, len(self.asked))
        return special if special is not None else self.page(asked)

    def page(self, asked: Asked) -> Reply:
        """An honest page, named in each of the ways there are."""
        query = asked.query
        at = int(query.get("cursor") or query.get("offset") or 0)
        if "page" in query:
            at = (int(query["page"]) - 1) * self.size
        records = self.records
        if "since" in query:
            records = [r for r in records if r["updatedAt"] >= query["since"]]
        part = records[at : at + self.size]
        after = at + self.size if at + self.size < len(records) else None
        body: dict[str, Any] = {
            "data": part,
            "meta": {"total": len(records), "next": None if after is None else str(after)},
        }
        headers = {}
        if after is not None:
            target = f"{asked.path}?cursor={after}"
            body["meta"]["link"] = target
            headers["Link"] = f'<{self.url}/other>; rel="prev", <{target}>; rel="next"'
        data = json.dumps(body).encode()
        if "gzip" in asked.headers.get("accept-encoding", "") and at % (2 * self.size) == 0:
            data, headers["Content-Encoding"] = gzip.compress(data), "gzip"
        return Reply(body=data, headers={"Content-Type": "application/json", **headers})


@contextmanager
def hostile_source(source: HostileSource) -> Iterator[HostileSource]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _any(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            query = {k: v[0] for k, v in parse_qs(parts.query).items()}
            headers = {k.lower(): v for k, v in self.headers.items()}
            reply = source.reply(Asked(parts.path, query, headers, body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + reply.cut))
            self.end_headers()
            try:
                self.wfile.write(reply.body)
                if reply.cut:
                    self.wfile.flush()
                    self.close_connection = True
            except OSError:
                self.close_connection = True

        do_GET = do_POST = _any

        def log_message(self, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return

    server = Server(("127.0.0.1", source.port), Handler)
    source.port = server.server_address[1]
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield source
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
