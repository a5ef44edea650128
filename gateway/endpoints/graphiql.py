"""GraphiQL for a browser, and sample queries made from the contract. The page works by itself; where the
CDN is reached it loads the real GraphiQL, each file held to its digest."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse

from gateway.context.services import Services
from gateway.endpoints.console import page
from stores.contract.model import Contract, RecordType

_CDN = "https://cdn.jsdelivr.net/npm/"

graphiql_page = page("graphiql.html", scripts=_CDN, styles=f"'unsafe-inline' {_CDN}")
"""GraphiQL sets styles of its own while it runs, which no digest can foresee."""


def samples(contract: Contract) -> list[dict[str, str]]:
    """A few queries for each type, whose names are the contract's own."""
    found: list[dict[str, str]] = []
    for t in contract.types.values():
        fields = _fields(t)
        if "list" in t.expose.operations:
            found.append(
                {
                    "name": f"the first {t.plural}",
                    "query": f"{{\n  {t.plural}(first: 5) {{\n    totalCount\n"
                    f"    edges {{ node {{ {fields} }} }}\n"
                    "    pageInfo { hasNextPage endCursor }\n  }\n}",
                }
            )
        if t.searchable and "search" in t.expose.operations:
            plural = t.plural[:1].upper() + t.plural[1:]
            found.append(
                {
                    "name": f"a search for {t.plural}",
                    "query": f'{{\n  search{plural}(query: "", first: 5) {{\n    totalCount\n'
                    f"    edges {{ score node {{ {fields} }} }}\n  }}\n}}",
                }
            )
    return found


def _fields(t: RecordType) -> str:
    shown = [p.graphql for p in t.properties if not p.restricted][:5]
    return " ".join(shown) or "__typename"


async def samples_endpoint(request: Request) -> JSONResponse:
    services: Services = request.app.state.services
    return JSONResponse(samples(services.contract))
