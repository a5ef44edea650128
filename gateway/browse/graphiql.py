"""GraphiQL for a browser, from this gateway's own files; sample queries made from the contract for
the one who asks, and who that is."""

from __future__ import annotations

import secrets

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from gateway.browse.markup import document, el
from gateway.browse.seen import Seen, seen_types
from gateway.context.services import Services, Viewer
from gateway.endpoints.assets import asset_address
from gateway.shape.visibility import Visibility
from stores.contract.model import Contract

_FIELDS = 5
_LONGEST = 50
"""Samples."""


def _policy(nonce: str) -> str:
    """Return the policy. The one style sheet that GraphiQL makes while it runs carries the nonce;
    no style stands in the page."""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self' 'nonce-{nonce}'; "
        "connect-src 'self'; img-src 'self' data:; font-src data:; base-uri 'none'; form-action "
        "'none'; "
        "frame-ancestors 'none'"
    )


async def graphiql_page(request: Request) -> Response:
    """Return the page. Nothing of the schema is in it: its script asks, as whoever reads it may."""
    nonce = secrets.token_urlsafe(16)
    services: Services = request.app.state.services
    body = document(
        el(
            "head",
            el("meta", charset="utf-8"),
            el("meta", name="viewport", content="width=device-width, initial-scale=1"),
            el("title", f"GraphiQL · {services.contract.name}"),
            *(
                el("link", rel="stylesheet", href=asset_address(name))
                for name in ("vendor/graphiql.min.css", "recordgate.css", "graphiql.css")
            ),
            *(
                el("script", src=asset_address(name), defer=True, data_nonce=given)
                for name, given in (
                    ("vendor/react.production.min.js", None),
                    ("vendor/react-dom.production.min.js", None),
                    ("vendor/graphiql.min.js", None),
                    ("graphiql.js", nonce),
                )
            ),
        ),
        el(
            "body",
            el(
                "header",
                el("a", services.contract.name, class_="brand", href="/"),
                el(
                    "nav",
                    el("a", "Home", href="/"),
                    el("a", "Schema", href="/schema.graphql"),
                    aria_label="Pages",
                ),
                el(
                    "form",
                    el("label", "Sample", for_="samples"),
                    el("select", el("option", "choose", value=""), id="samples"),
                    el("label", "Key or token", for_="credential"),
                    el(
                        "input",
                        type="password",
                        id="credential",
                        autocomplete="off",
                        placeholder="the browser's own",
                    ),
                    el("label", "Role", for_="role"),
                    el("select", el("option", "all of yours", value=""), id="role"),
                    el("output", id="who", role="status"),
                    id="caller",
                ),
            ),
            el(
                "main",
                el(
                    "noscript",
                    el(
                        "p",
                        "GraphiQL needs JavaScript. Without it, ",
                        el("a", "browse the records", href="/"),
                        ", or send queries to /graphql by another program.",
                    ),
                ),
                id="graphiql",
            ),
            class_="graphiql-page",
        ),
        lang="en",
    )
    return HTMLResponse(body, headers={"Content-Security-Policy": _policy(nonce)})


def samples(contract: Contract, roles: frozenset[str] = frozenset()) -> list[dict[str, str]]:
    """Return a few queries for each type that one with `roles` may read."""
    found: list[dict[str, str]] = []
    for seen in seen_types(Visibility(contract, roles)):
        found += _samples(seen)
    return found[:_LONGEST]


def _samples(seen: Seen) -> list[dict[str, str]]:
    plural, chosen = seen.type.plural, _chosen(seen)
    fields, node = " ".join(chosen), "\n        ".join(chosen)
    found: list[dict[str, str]] = []
    if seen.may("list"):
        found.append(
            {
                "name": f"the first {plural}",
                "query": f"{{\n  {plural}(first: 5) {{\n    totalCount\n"
                f"    edges {{\n      node {{\n        {node}\n      }}\n    }}\n"
                "    pageInfo { hasNextPage endCursor }\n  }\n}",
            }
        )
        related = next((r for r, t in seen.relations() if not r.many and t.may("get")), None)
        if related is not None:
            target = Seen(seen.visibility.contract.types[related.target], seen.visibility)
            inner = " ".join(_chosen(target)[:3])
            found.append(
                {
                    "name": f"{plural} with their {related.graphql}",
                    "query": f"{{\n  {plural}(first: 5) {{\n    nodes {{\n      {fields}\n"
                    f"      {related.graphql} {{ {inner} }}\n    }}\n  }}\n}}",
                }
            )
    if seen.may_search:
        found.append(
            {
                "name": f"a search for {plural}",
                "query": f'{{\n  {seen.search_field}(query: "", first: 5) {{\n    totalCount\n'
                f"    edges {{\n      score\n      node {{ {fields} }}\n    }}\n  }}\n}}",
            }
        )
    return found


def _chosen(seen: Seen) -> list[str]:
    return [n for n in seen.fields if n != "id"][:_FIELDS] or ["id"]


async def samples_endpoint(request: Request) -> JSONResponse:
    services: Services = request.app.state.services
    return JSONResponse(samples(services.contract, request.state.viewer.roles))


async def viewer_endpoint(request: Request) -> JSONResponse:
    """Return the caller's name and roles, which GraphiQL's role picker offers."""
    viewer: Viewer = request.state.viewer
    return JSONResponse({"name": viewer.name, "roles": sorted(viewer.roles)})
