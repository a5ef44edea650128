"""ETag and 304 for what is asked by GET. The tag of an answer that came from stores alone is made
of the request, the viewer and where those stores stand, so that a store that has not moved is not
even asked again; where canonical took part it is made of the answer's data.

A store's position is read before the answer is made: the answer is at least as new as its tag says.
The tags are weak, for the age of an answer is in its body.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from gateway.context.freshness import from_headers, generation_of, position_of, usable
from gateway.context.services import Services
from stores.errors import RecordgateError
from stores.roles import STORE_ROLES

Endpoint = Callable[[Request], Awaitable[Response]]

_LETTERS = {role: row.letter for role, row in STORE_ROLES.items()}
_ROLES = {row.letter: role for role, row in STORE_ROLES.items()}
_TAG = re.compile(rf'(?:W/)?"([{"".join(_ROLES)}]{{1,{len(_ROLES)}}})\.[0-9a-f]{{32}}"')
_HEADERS = {"Cache-Control": "private, no-cache"}
_VARY = (
    "Accept, Authorization, X-API-Key, Recordgate-Roles, Recordgate-Token, Recordgate-Max-Staleness"
)


def conditional(endpoint: Endpoint) -> Endpoint:
    """`endpoint`, whose answers to a GET or HEAD carry a tag, and are 304 where the caller has them
    already."""

    async def run(request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return await endpoint(request)
        services: Services = request.app.state.services
        given = request.headers.get("if-none-match", "")
        before = {letters: await _standing(services, letters) for letters in _ROLES}
        for letters in set(_TAG.findall(given)):
            tag = _tag(request, letters, before)
            if tag is not None and tag in given and await _fresh(request, services, letters):
                request.state.stores = {n for n, x in _LETTERS.items() if x in letters}
                return _unchanged(tag)
        response = await endpoint(request)
        if response.status_code != 200 or getattr(request.state, "code", "OK") != "OK":
            return response
        stores = set(getattr(request.state, "stores", ()))
        tag = None
        by_headers = getattr(request.state, "freshness_by_headers", True)
        if stores and stores <= _LETTERS.keys() and by_headers:
            tag = _tag(request, "".join(sorted(_LETTERS[s] for s in stores)), before)
        if tag is None:
            tag = _content_tag(bytes(response.body))
        if tag in given:
            return _unchanged(tag)
        response.headers.update({**_HEADERS, "ETag": tag, "Vary": _VARY})
        return response

    return run


async def _standing(services: Services, letters: str) -> str | None:
    """Position and generations of a store; None where it has none that holds for every type, or is
    not reached."""
    store = services.store(_ROLES[letters])
    try:
        position = await position_of(store)
        if position is None or position.withheld:
            return None
        numbers = [await generation_of(store, name) for name in services.contract.types]
    except RecordgateError:
        return None
    return f"{letters}{position.system}/{position.timeline}/{position.lsn}/{numbers}"


def _tag(request: Request, letters: str, standing: dict[str, str | None]) -> str | None:
    viewer = request.state.viewer
    parts = [standing[letter] for letter in letters]
    if None in parts:
        return None
    text = "\0".join(
        [
            str(request.app.state.services.contract.version),
            request.url.path,
            request.url.query,
            viewer.name,
            *sorted(viewer.roles),
            request.headers.get("accept", ""),
            request.headers.get("recordgate-explain", ""),
            *(p or "" for p in parts),
        ]
    )
    return f'W/"{letters}.{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


async def _fresh(request: Request, services: Services, letters: str) -> bool:
    """Return whether the stores are as fresh as the request asks. If not, 304 is no answer,
    whatever the tag says."""
    asked = from_headers(request.headers)
    stores = [services.store(_ROLES[x]) for x in letters]
    return all([(await usable(services, store, asked)).usable for store in stores])


def _content_tag(body: bytes) -> str:
    """Return the tag of the data, without what is said about it."""
    end = body.rfind(b',"extensions":')
    return f'W/"c.{hashlib.sha256(body if end < 0 else body[:end]).hexdigest()[:32]}"'


def _unchanged(tag: str) -> Response:
    return Response(status_code=304, headers={**_HEADERS, "ETag": tag, "Vary": _VARY})
