"""One answer of an HTTP source, bounded in time, size and redirects, from allowed addresses
only."""

from __future__ import annotations

import email.utils
import ssl
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore
import msgspec

from recordgate.collecting.addresses import Allowed, GuardedBackend
from stores.errors import SourceError

REDIRECTS = 5
_PIECE = 1 << 16
_WAIT = 5.0
"""Longest Retry-After that is waited for in place; a longer one ends the walk until then."""
_TRIES = 3
_LONGEST = 3600.0


@cache
def _trusted() -> ssl.SSLContext:
    """The machine's authorities, read once: they take long."""
    return ssl.create_default_context()


@dataclass(slots=True)
class Answer:
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class Fetcher:
    """Connections to one source. `sleep` is told how long to wait, and raises where the collector
    ends."""

    def __init__(
        self,
        allowed: Allowed,
        *,
        timeout: float,
        max_bytes: int,
        rate: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=context or _trusted(),
            network_backend=GuardedBackend(allowed),
            max_connections=2,
            keepalive_expiry=30.0,
        )
        self._allowed, self._timeout, self._max_bytes = allowed, timeout, max_bytes
        self._rate, self._sleep = rate, sleep
        self._next_at = 0.0

    def close(self) -> None:
        self._pool.close()

    def get(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask once more where that may help: after a broken connection, a 5xx, a short Retry-After.
        Raises SourceError."""
        for attempt in range(1, _TRIES + 1):
            try:
                answer = self._followed(url, headers)
            except SourceError as error:
                if attempt == _TRIES or error.detail_code != "SOURCE_DOWN":
                    raise
                self._sleep(0.2 * 4 ** (attempt - 1))
                continue
            if answer.status != 429 and answer.status < 500:
                return answer
            wait = retry_after(answer.headers.get("retry-after", ""), time.time())
            if attempt == _TRIES or wait > _WAIT:
                code = "SOURCE_BUSY" if answer.status in (429, 503) else "SOURCE_DOWN"
                raise SourceError(
                    f"{place(url)} answers {answer.status}", code=code, retry_after=wait
                )
            self._sleep(wait or 0.2 * 4 ** (attempt - 1))
        raise AssertionError

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Ask once, following no redirect: what is posted is a secret."""
        return self._once("POST", url, headers, body)

    def _followed(self, url: str, headers: Mapping[str, str]) -> Answer:
        for _ in range(REDIRECTS + 1):
            answer = self._once("GET", url, headers, None)
            if answer.status not in (301, 302, 303, 307, 308):
                return answer
            target = urljoin(url, answer.headers.get("location", ""))
            self.same_place(url, target)
            if origin(url) != origin(target):
                headers = {}  # Where it is allowed at all, it is not told who we are.
            url = target
        raise SourceError(f"{place(url)} redirects more than {REDIRECTS} times", code="BAD_PAGE")

    def same_place(self, url: str, target: str) -> None:
        """Raises SourceError where `target` is another server: it would get our credentials."""
        if (
            origin(url) != origin(target)
            and (urlsplit(target).hostname or "") not in self._allowed.hosts
        ):
            raise SourceError(
                f"{place(url)} leads to {place(target)}, another server, which is not asked",
                hint="name that server in the contract, or add its host to `collect_allow`",
                code="ADDRESS_REFUSED",
            )
        if url.startswith("https:") and not target.startswith("https:"):
            raise SourceError(f"{place(url)} leads away from https", code="ADDRESS_REFUSED")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> Answer:
        now = time.monotonic()
        if self._rate and now < self._next_at:
            self._sleep(self._next_at - now)
        self._next_at = max(now, self._next_at) + (1 / self._rate if self._rate else 0)
        deadline = time.monotonic() + self._timeout
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), self._timeout)
        sent: dict[str, str] = {
            "Host": urlsplit(url).netloc.rpartition("@")[2],
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "recordgate",
            **headers,
        }
        if body is not None:
            sent["Content-Length"] = str(len(body))
        try:
            with self._pool.stream(
                method,
                url,
                headers=list(sent.items()),
                content=body,
                extensions={"timeout": timeouts},
            ) as response:
                found = {
                    k.decode("latin-1").lower(): v.decode("latin-1") for k, v in response.headers
                }
                data = self._bounded(response.iter_stream(), found, deadline, url)
                return Answer(url, response.status, found, data)
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise SourceError(
                f"{place(url)} is not reached, or broke off: {type(error).__name__}",
                code="SOURCE_DOWN",
            ) from None
        except (httpcore.UnsupportedProtocol, ValueError, UnicodeError):
            raise SourceError("an address that cannot be asked", code="BAD_PAGE") from None

    def _bounded(
        self, stream: Iterator[bytes], headers: Mapping[str, str], deadline: float, url: str
    ) -> bytes:
        """The body, unpacked, and never more of it in memory than the limit."""
        packed = headers.get("content-encoding", "identity").lower()
        if packed not in ("identity", "gzip", ""):
            raise SourceError(
                f"{place(url)} answers as {packed[:40]}, which nobody asked for", code="BAD_PAGE"
            )
        unpack = zlib.decompressobj(wbits=31) if packed == "gzip" else None
        body = bytearray()
        for part in stream:
            if time.monotonic() > deadline:
                raise SourceError(
                    f"{place(url)} takes longer than {self._timeout:g} s", code="SOURCE_DOWN"
                )
            while part:
                try:
                    body += unpack.decompress(part, _PIECE) if unpack else part
                except zlib.error:
                    raise SourceError(
                        f"{place(url)}: what came is no gzip", code="SOURCE_DOWN"
                    ) from None
                part = unpack.unconsumed_tail if unpack else b""
                if len(body) > self._max_bytes:
                    raise SourceError(
                        f"a page of {place(url)} is larger than {self._max_bytes:,} bytes",
                        hint="ask for smaller pages, or raise `atMost.bytes`",
                        code="PAGE_TOO_LARGE",
                    )
        if unpack is not None and body and not unpack.eof:
            raise SourceError(f"{place(url)}: the gzip ends early", code="SOURCE_DOWN")
        return bytes(body)


def origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return ("", "", None)
    return parts.scheme, (parts.hostname or "").lower(), port


def place(url: str) -> str:
    """Return the address as messages show it: without its query, which may hold a key."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"[:200]
    except ValueError:
        return "an address"


def retry_after(text: str, now: float) -> float:
    """The seconds that a Retry-After asks for, 0 where it says nothing, an hour at most."""
    if text.strip().isdigit():
        return min(float(text), _LONGEST)
    try:
        at = email.utils.parsedate_to_datetime(text).timestamp() if text else now
    except (ValueError, TypeError):
        return 0.0
    return min(max(0.0, at - now), _LONGEST)


def json_of(answer: Answer) -> Any:
    """The JSON of an answer, its records' values as they are written. Raises SourceError."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind and "json" not in kind and not kind.startswith("text/plain"):
        raise SourceError(
            f"{place(answer.url)} answers {answer.status} with {kind[:60]}, not with JSON",
            hint="a page of a portal or a proxy looks like this",
            code="NOT_JSON",
        )
    try:
        return _decoder.decode(answer.body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise SourceError(
            f"{place(answer.url)}: what came is not whole JSON ({str(error)[:100]})",
            code="NOT_JSON",
        ) from None


_decoder = msgspec.json.Decoder(float_hook=Decimal)
