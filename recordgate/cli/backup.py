"""The commands `backup` and `restore`: canonical, recordgate's own tables and the secrets, as one
folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recordgate.cli.output import ProgressLine, emit, invocation, reported

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("backup")(backup)
    app.command("restore")(restore)


def backup(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder of the backup.")],
    as_json: AsJson = False,
) -> None:
    """Write canonical with recordgate's own tables, the contract, the settings and the secrets into
    a new folder, from one snapshot while everything runs."""
    from recordgate.backups.taking import take
    from recordgate.canonical_access import open_canonical
    from recordgate.settings import settings_file

    given = invocation(ctx)
    with reported(as_json=as_json):
        settings = given.settings()
        contract = given.contract(settings)
        with open_canonical(settings) as access, ProgressLine("backup", unit="MB") as line:
            made = take(
                settings,
                settings_file(given.config),
                contract,
                access.url,
                folder,
                lambda size: line.update(size // 1_000_000),
            )
    size = sum(part.bytes for part in made.files.values())
    emit(
        {"folder": str(folder), "bytes": size, "created": made.created, "files": len(made.files)},
        as_json=as_json,
        text=f"{folder}: {len(made.files)} files, {size:,} bytes, as of {made.created}",
    )


def restore(
    ctx: typer.Context,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder that `recordgate backup` has made.")
    ],
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Put a new database in the place of this one; else it must be empty."
        ),
    ] = False,
    settings_into: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Only write the settings and the contract of the backup into this new folder.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make canonical what it was, in one transaction. Stores load anew when a worker starts."""
    from recordgate.backups.manifest import read_backup
    from recordgate.backups.restoring import restore as carry_out
    from recordgate.backups.restoring import write_settings
    from recordgate.canonical_access import open_canonical

    with reported(as_json=as_json):
        found = read_backup(folder)
        if settings_into is not None:
            written = [str(path) for path in write_settings(found, settings_into)]
            emit({"written": written}, as_json=as_json, text="\n".join(written))
            return
        settings = invocation(ctx).settings()
        with open_canonical(settings) as access, ProgressLine("restore", unit="MB") as line:
            done = carry_out(
                settings,
                found,
                access.url,
                replace=replace,
                told=lambda sent: line.update(sent // 1_000_000),
            )
    made = found.manifest
    lines = [f"canonical is as of {made.created}, of the contract {made.contract}"]
    if done.migrated:
        lines.append("recordgate's own tables were of an earlier version, and are up to date")
    lines += [f"written: {path}" for path in done.secrets]
    lines += [f"left as it is: {path}" for path in done.kept]
    lines.append("start `recordgate up` or `recordgate sync`: the stores load anew")
    emit(
        {
            "created": made.created,
            "contract": made.contract,
            "migrated": done.migrated,
            "secrets": done.secrets,
            "kept": done.kept,
        },
        as_json=as_json,
        text="\n".join(lines),
    )
