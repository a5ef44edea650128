"""The commands `keys create|list|revoke`: Create, list and revoke API keys of the gateway."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from gateway.context.freshness import parse_duration
from gateway.security.api_keys import ApiKey, make_key
from gateway.security.key_file import changing_keys, read_keys
from recordgate.access import key_file
from recordgate.cli.output import emit, invocation, reported
from stores.errors import InputError

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, help="Create, list and revoke API keys of the gateway."
    )
    group.command("create")(create)
    group.command("list")(list_)
    group.command("revoke")(revoke)
    app.add_typer(group, name="keys")


def create(
    ctx: typer.Context,
    role: Annotated[
        list[str] | None,
        typer.Option(help="Role of the contract; repeat the option for several roles."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the key: its owner or its purpose.")] = "",
    expires: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Lifetime of the key: 90d, 12h; default: no expiry."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    given = invocation(ctx)
    with reported(as_json=as_json):
        settings = given.settings()
        contract = given.contract(settings)
        roles = tuple(dict.fromkeys(role or ()))
        for one in roles:
            if one not in contract.roles:
                raise InputError(
                    f"the contract has no role {one!r}",
                    hint="one of " + (", ".join(contract.roles) or "none: add `roles` to it"),
                )
        lifetime = None if expires is None else parse_duration(expires, "--expires")
        with changing_keys(key_file(settings)) as keys:
            text, key = make_key(name or "key", roles, time.time(), lifetime)
            keys[key.id] = key
    emit({"key": text, **_shown(key)}, as_json=as_json, text=text)


def list_(ctx: typer.Context, as_json: Json = False) -> None:
    """The keys by id, without their secrets."""
    with reported(as_json=as_json):
        keys = read_keys(key_file(invocation(ctx).settings()))
    shown = [_shown(k) for k in keys.values()]
    emit(shown, as_json=as_json, text=lambda: "\n".join(map(_line, shown)) or "no keys")


def revoke(
    ctx: typer.Context,
    identity: Annotated[
        str, typer.Argument(metavar="ID", help="Id of the key, as `keys list` shows it.")
    ],
    as_json: Json = False,
) -> None:
    """Take a key away; gateways that run refuse it within a second."""
    with reported(as_json=as_json), changing_keys(key_file(invocation(ctx).settings())) as keys:
        if keys.pop(identity, None) is None:
            raise InputError(f"there is no key {identity!r}", hint="see `recordgate keys list`")
    emit({"revoked": identity}, as_json=as_json, text=f"revoked {identity}")


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "roles": list(key.roles),
        "created": _moment(key.created),
        "expires": None if key.expires is None else _moment(key.expires),
    }


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _line(key: dict[str, Any]) -> str:
    until = f", until {key['expires']}" if key["expires"] else ""
    roles = ", ".join(key["roles"]) or "no role"
    return f"{key['id']}  {key['name']}  ({roles}), made {key['created']}{until}"
