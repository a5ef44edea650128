"""uvicorn's HTTP protocol with bounds on the head of a request, which nobody has to be known to
send: its bytes, its fields, and the time until it is whole. What comes after a head is bounded
by the application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.http.problems import STATUS, HttpProblem, problem_response

MAX_FIELDS = 100
"""Header fields of one request, and as many in what follows a body in chunks."""

LINGER = 0.5
"""Seconds in which the sender of a request that is refused can read why."""


@dataclass(frozen=True, slots=True)
class HeadLimits:
    """`most`: bytes of a head, its first line included. `seconds`: until it is whole, from the
    connection on, or from the first byte that follows another request."""

    most: int = 65_536
    seconds: float = 10.0


def bounded(limits: HeadLimits) -> type[HttpToolsProtocol]:
    """The protocol's class, for `uvicorn.Config(http=…)`."""
    return type("BoundedProtocol", (_Bounded,), {"limits": limits})


class _Bounded(HttpToolsProtocol):
    limits: HeadLimits
    _late: asyncio.TimerHandle | None = None
    """The timer that ends the wait for a request's head; None while none is awaited."""
    _refusal: HttpProblem | None = None
    _in_head = True
    _before = 0
    """Bytes of the head that came in earlier pieces."""
    _piece = 0
    _without_body = 0
    """Bytes after the head since the last that were of a body: what frames it, and what trails it.
    """
    _has_body = False
    _another = False
    """True where a request ended in the piece at hand."""
    _upgraded = False
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._piece, self._has_body, self._another = len(data), False, False
        super().data_received(data)
        if self._upgraded or self._refused or self.transport.is_closing():
            return
        if self._in_head:
            self._before += self._piece
            if self._before > self.limits.most:
                self._refuse(_too_large(self.limits.most))
                return
        else:
            self._without_body = 0 if self._has_body else self._without_body + len(data)
            if self._without_body > self.limits.most or len(self.headers) > MAX_FIELDS:
                self._refuse(_too_large(self.limits.most))
                return
        if self.cycle is None or self.cycle.response_complete:
            # Nothing is being answered, and what came has ended the time of an idle connection.
            self._expect_head()

    def handle_websocket_upgrade(self) -> None:
        self._upgraded = True
        super().handle_websocket_upgrade()

    # What the parser calls ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        # A piece that another request ends in is not counted: how much of it is of this head is not
        # known.
        self._in_head, self._without_body = True, 0
        self._before = -self._piece if self._another else 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        limits = self.limits
        if len(self.headers) > MAX_FIELDS:
            self._refusal = HttpProblem(
                "HEAD_TOO_LARGE", f"the request has more than {MAX_FIELDS} header fields"
            )
        elif self._before + 2 * self._piece > limits.most and self._head_size() > limits.most:
            self._refusal = _too_large(limits.most)
        else:
            self._refusal = self._ambiguous()
        if self._refusal is not None:
            raise ValueError("refused")  # the parser ends, and `send_400_response` is called
        self._in_head = False
        self._head_came()
        super().on_headers_complete()
        if not self.parser.should_upgrade():
            # Fields that trail a body are none of the request: who asks was settled by its head.
            self.headers = []

    def _ambiguous(self) -> HttpProblem | None:
        """Return why a proxy before us could read the head differently, which the parser does not
        check (RFC 9112, 3.2 and 6.1), or None."""
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            return HttpProblem("BAD_USER_INPUT", "a request must have exactly one Host header")
        if b"transfer-encoding" in names:
            coding = b",".join(v for n, v in self.headers if n == b"transfer-encoding")
            if coding.strip().lower() != b"chunked":
                return HttpProblem(
                    "BAD_USER_INPUT",
                    "a request must have either Content-Length or Transfer-Encoding",
                )
        return None

    def on_body(self, body: bytes) -> None:
        self._has_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._another = True
        super().on_message_complete()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    # Time and refusals ----------------------------------------------------------------------------

    def _expect_head(self) -> None:
        if self._late is None and self.timeout_keep_alive_task is None:
            self._late = self.loop.call_later(self.limits.seconds, self._too_late)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _too_late(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if self._in_head and self.headers is not None:
            self._refuse(
                HttpProblem(
                    "REQUEST_TIMEOUT",
                    f"the request's head was not received within {self.limits.seconds:g} s",
                )
            )
        else:
            self.transport.close()  # nothing was asked

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or HttpProblem("BAD_USER_INPUT", "this is not valid HTTP"))

    def _refuse(self, problem: HttpProblem) -> None:
        """Answer, unless an answer to an earlier request is on its way, and close. What still comes
        is thrown away for a moment: closed at once, the connection would be reset, and the
        answer with it."""
        self._head_came()
        self._refused = True
        if self.cycle is None or self.cycle.response_complete:
            response = problem_response(problem)
            status = HTTPStatus(STATUS[problem.detail_code])
            lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
            lines += [b"%s: %s" % field for field in response.raw_headers]
            lines += [b"cache-control: no-store", b"x-content-type-options: nosniff"]
            lines += [b"connection: close", b"", bytes(response.body)]
            self.transport.write(b"\r\n".join(lines))
            if self.transport.can_write_eof():
                self.transport.write_eof()
                self._late = self.loop.call_later(LINGER, self.transport.close)
                return
        self.transport.close()


def _too_large(most: int) -> HttpProblem:
    return HttpProblem(
        "HEAD_TOO_LARGE",
        f"the head of the request is larger than {most} bytes",
        hint="setting max_head_bytes",
    )
