"""The command `export`: all records of a type from one snapshot, to a file or stdout."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import IO, Annotated

import typer

from gateway.export import Export, Format, stream
from recordgate.canonical_access import open_canonical
from recordgate.cli.output import ProgressLine, invocation, reported
from stores.canonical.connect import connect_async
from stores.contract.model import Contract
from stores.errors import InputError, SetupError


def register(app: typer.Typer) -> None:
    app.command("export")(export)


def export(
    ctx: typer.Context,
    type_name: Annotated[str, typer.Argument(metavar="TYPE", help="Record type.")],
    format_: Annotated[
        Format, typer.Option("--format", help="Form of the records.")
    ] = Format.NDJSON,
    output: Annotated[Path | None, typer.Option(help="File to write; stdout where none.")] = None,
) -> None:
    """All records of a type, from one consistent snapshot, in the order of their keys."""
    given = invocation(ctx)
    with reported():
        settings = given.settings()
        contract = given.contract(settings)
        record_type = contract.type(type_name)
        if record_type is None:
            raise InputError(
                f"the contract has no type {type_name!r}",
                hint="one of " + ", ".join(contract.types),
            )
        with open_canonical(settings) as access:
            asked = Export(record_type, format_)
            if output is None:
                asyncio.run(_write(access.url, contract, asked, sys.stdout.buffer))
            else:
                _write_file(access.url, contract, asked, output)


def _write_file(url: str, contract: Contract, asked: Export, output: Path) -> None:
    """The file is there whole or not at all."""
    draft = output.with_name(f".{output.name}.part")
    try:
        with draft.open("wb") as file:
            asyncio.run(_write(url, contract, asked, file))
        draft.replace(output)
    except OSError as error:
        raise SetupError(f"{output} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


async def _write(url: str, contract: Contract, asked: Export, out: IO[bytes]) -> None:
    conn = await connect_async(url, application_name="recordgate export")
    done = 0
    try:
        async with contextlib.aclosing(stream(conn, contract, asked)) as blocks:
            with ProgressLine(f"export {asked.record_type.name}", unit="bytes") as progress:
                async for block in blocks:
                    out.write(block)
                    done += len(block)
                    progress.update(done)
        out.flush()
    except BrokenPipeError:
        raise SetupError("the reader of the output went away") from None
    finally:
        await conn.close()
