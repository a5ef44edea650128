"""The commands `schema print` and `schema check`: the GraphQL schema of the contract and its
extensions."""

from __future__ import annotations

from typing import Annotated

import typer

from recordgate.cli.output import emit, invocation, reported


def register(app: typer.Typer) -> None:
    commands = typer.Typer(
        no_args_is_help=True,
        help="Print and check the GraphQL schema of the contract and its extensions.",
    )
    commands.command("print")(print_)
    commands.command("check")(check)
    app.add_typer(commands, name="schema")


def print_(
    ctx: typer.Context,
    subgraph: Annotated[
        bool, typer.Option("--subgraph", help="Print the schema as an Apollo Federation subgraph.")
    ] = False,
) -> None:
    """Print the schema as SDL; no server and no store is needed."""
    from graphql import print_schema

    from gateway.schema import build_schema
    from gateway.schema.extensions import load
    from gateway.schema.subgraph import print_subgraph

    with reported():
        settings = invocation(ctx).settings()
        contract = invocation(ctx).contract(settings)
        schema = build_schema(
            contract, load(settings.extensions, contract), subgraph=subgraph
        ).graphql
        text = print_subgraph(schema, contract) if subgraph else print_schema(schema)
        emit({"sdl": text}, as_json=False, text=text)


def check(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check that the modules of the setting `extensions` fit the contract."""
    from gateway.schema import build_schema
    from gateway.schema.extensions import load

    with reported(as_json=as_json):
        settings = invocation(ctx).settings()
        contract = invocation(ctx).contract(settings)
        found = load(settings.extensions, contract)
        schema = build_schema(contract, found).graphql
        records = {
            n: sorted(f.field.python_name for f in r.fields) for n, r in found.records.items()
        }
        emit(
            {"modules": list(found.modules), "records": records, "types": len(schema.type_map)},
            as_json=as_json,
            text=f"{len(found.modules)} extensions fit the contract; {len(schema.type_map)} types",
        )
