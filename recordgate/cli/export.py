"""The command `export`: all records of a type from one snapshot, to a file or stdout."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from gateway.export.rows import Export, Format, Written, fields_of, manifest, stream
from gateway.shape.filters import parse_filter
from gateway.shape.visibility import Visibility
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
    format_: Annotated[Format, typer.Option("--format", help="Output format.")] = Format.NDJSON,
    output: Annotated[Path | None, typer.Option(help="File to write to; default: stdout.")] = None,
    fields: Annotated[str, typer.Option(help="Comma-separated property names; default: all.")] = "",
    filter_: Annotated[
        str | None, typer.Option("--filter", help="A filter as in GraphQL, as JSON.")
    ] = None,
    spreadsheet: Annotated[
        bool,
        typer.Option(
            "--spreadsheet",
            help=(
                "For CSV: put an apostrophe before each text that a spreadsheet would run as a"
                " formula."
            ),
        ),
    ] = False,
    manifest_file: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            help="File to which counts, checksum, fields and snapshot are written, as JSON.",
        ),
    ] = None,
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
            names = [n.strip() for n in fields.split(",") if n.strip()]
            asked = Export(
                record_type,
                format_,
                fields_of(record_type, names),
                parse_filter(record_type, _filter(filter_), Visibility(contract)),
                spreadsheet=spreadsheet,
            )
            if output is None:
                written = asyncio.run(_write(access.url, contract, asked, sys.stdout.buffer))
            else:
                written = _write_file(access.url, contract, asked, output)
        if manifest_file is not None:
            _write_manifest(manifest_file, contract, asked, written)


def _filter(text: str | None) -> Any:
    if text is None:
        return None
    try:
        found = json.loads(text)
    except ValueError:
        raise InputError("--filter is not valid JSON") from None
    if found is None:
        raise InputError("--filter must not be null", hint="leave it out")
    return found


def _write_manifest(file: Path, contract: Contract, asked: Export, written: Written) -> None:
    text = json.dumps({**manifest(contract, asked, written), "complete": True}, indent=2) + "\n"
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise SetupError(f"{file} cannot be written: {error.strerror}") from None


def _write_file(url: str, contract: Contract, asked: Export, output: Path) -> Written:
    """The file is there whole or not at all."""
    draft = output.with_name(f".{output.name}.part")
    try:
        with draft.open("wb") as file:
            written = asyncio.run(_write(url, contract, asked, file))
        draft.replace(output)
        return written
    except OSError as error:
        raise SetupError(f"{output} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


async def _write(url: str, contract: Contract, asked: Export, out: IO[bytes]) -> Written:
    conn = await connect_async(url, application_name="recordgate export")
    written = Written()
    try:
        async with contextlib.aclosing(stream(conn, contract, asked, written)) as blocks:
            with ProgressLine(f"export {asked.record_type.name}", unit="bytes") as progress:
                async for block in blocks:
                    out.write(block)
                    progress.update(written.bytes)
        out.flush()
        return written
    except BrokenPipeError:
        raise SetupError("the reader closed the output") from None
    finally:
        await conn.close()
