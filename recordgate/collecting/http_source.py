"""The pages of an HTTP source from a position on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any

from recordgate.collecting.addresses import Allowed
from recordgate.collecting.credentials import Credentials
from recordgate.collecting.fetching import Answer, Fetcher, json_of, origin, place
from recordgate.collecting.paging import Circle, Position, address_of, next_position, with_params
from recordgate.collecting.shaping import encode
from stores.contract.collect import Collect, Since
from stores.contract.json_paths import every, first
from stores.crash_points import crash_point
from stores.errors import SourceError


@dataclass(slots=True)
class Page:
    """`after`: where the next page is, None after the last; `total`: how many records the source
    says there are."""

    records: list[dict[str, Any]]
    after: Position | None
    total: int | None


class HttpPages:
    """Asks one source; `close` when done."""

    def __init__(self, collect: Collect, allowed: Allowed, sleep: Callable[[float], None]) -> None:
        assert collect.http is not None
        self._collect, self._http = collect, collect.http
        self._fetcher = Fetcher(
            allowed,
            timeout=collect.http.timeout,
            max_bytes=collect.http.max_bytes,
            rate=collect.http.requests_per_second,
            sleep=sleep,
        )
        self._credentials = Credentials(collect.http.auth, self._fetcher)

    def close(self) -> None:
        self._fetcher.close()

    def pages(
        self, position: Position, seen: int, walked: int, since: str | None
    ) -> Iterator[Page]:
        """Each page from `position` on. `seen` records and `walked` pages of this walk came before.
        Raises SourceError."""
        http, more = self._http, {}
        if since is not None and self._collect.since is not None:
            more = {self._collect.since.param: earlier(since, self._collect.since)}
        circle = Circle(http.max_pages, walked)
        at: Position | None = position
        while at is not None:
            url = address_of(http.url, http.pages, at, more)
            self._fetcher.same_place(http.url, url)
            answer = self._answer(url)
            crash_point("collect-fetched")
            data = json_of(answer)
            records = list(every(data, http.records))
            if not records and first(data, tuple(s for s in http.records if s is not None)) is None:
                raise SourceError(
                    f"{place(url)}: the answer has nothing where the records should be",
                    hint="look at `records` with `recordgate collect probe`",
                    code="BAD_PAGE",
                )
            if not all(isinstance(r, dict) for r in records):
                raise SourceError(f"{place(url)}: a record is no object", code="BAD_PAGE")
            seen += len(records)
            circle.page(at, blake2b(encode(records), digest_size=16).digest(), len(records))
            total = first(data, http.pages.total) if http.pages.total else None
            at = next_position(
                http.pages, at, answer.url, answer.headers.get("link", ""), data, len(records), seen
            )
            yield Page(records, at, total if type(total) is int else None)

    def _answer(self, url: str) -> Answer:
        for attempt in (1, 2):
            headers, params = dict(self._http.headers), {}
            if origin(url) == origin(self._http.url):
                headers |= self._credentials.headers()
                params = self._credentials.params()
            answer = self._fetcher.get(with_params(url, params), headers)
            if answer.status == 401 and attempt == 1 and self._credentials.renew():
                continue  # A token ends in the middle of a long walk: the page is asked again.
            if answer.status in (401, 403):
                raise SourceError(
                    f"{place(url)} answers {answer.status}",
                    hint="look at the secrets that `auth` names",
                    code="SOURCE_AUTH",
                )
            if answer.status == 410:
                raise SourceError(f"{place(url)} answers 410", code="POSITION_GONE")
            if not 200 <= answer.status < 300:
                raise SourceError(
                    f"{place(url)} answers {answer.status}",
                    hint="look at `url` and `pages` with `recordgate collect probe`",
                    code="SOURCE_REFUSED",
                )
            return answer
        raise AssertionError


def earlier(since: str, asked: Since) -> str:
    """The moment or number from which a walk asks, `overlap` before what was seen; as it is where
    it is neither."""
    if not asked.overlap:
        return since
    try:
        return str(int(since) - int(asked.overlap))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        return since
    text = (moment - timedelta(seconds=asked.overlap)).isoformat()
    return text.replace("+00:00", "Z") if since.endswith("Z") else text


def higher(high: str | None, value: Any) -> str | None:
    """The greater of two marks: numbers as numbers, else as text. What is neither counts
    nothing."""
    if value is None or isinstance(value, (dict, list, bool)):
        return high
    text = str(value)
    if len(text) > 200 or not text.isprintable():
        return high
    if high is None:
        return text
    try:
        return text if float(text) > float(high) else high
    except ValueError:
        return max(high, text)
