"""The command `quickstart`: from files to a product that answers, in one go."""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.shape.names import enum_name, field_of, search_field
from recordgate.cli.contract import Keys, parse_keys
from recordgate.cli.loads import ALL_LOADED
from recordgate.cli.output import Invocation, ProgressLine, reported, say
from recordgate.cli.printable import printable
from recordgate.demo.queries import Client
from stores.contract.load import load_contract
from stores.contract.model import Contract
from stores.errors import SetupError, StoreUnavailable

if TYPE_CHECKING:
    from recordgate.starting.drafting import Drafted


def register(app: typer.Typer) -> None:
    app.command("quickstart")(quickstart)


def quickstart(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Files (CSV, TSV, NDJSON, JSON, Parquet), or one folder of them.",
        ),
    ],
    into: Annotated[
        Path | None,
        typer.Option(
            help="New folder for contract, settings and data; default: named after the first file."
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")
    ] = 8080,
    keys: Keys = None,
) -> None:
    """Make a contract from files, load them, and serve them: `contract init`, `apply`, `import` and
    `up` in one."""
    from recordgate.starting.drafting import contract_from_files

    with reported():
        folder = (into or Path(f"{files[0].resolve().stem}-product")).resolve()
        if folder.exists():
            raise SetupError(
                f"{folder} already exists",
                hint="go on there by `recordgate up`, or name another folder by --into",
            )
        with ProgressLine("reading files", unit="%") as line:
            drafted = contract_from_files(
                files,
                parse_keys(keys or []),
                lambda what, share: line.update(round(share * 100), 100, what),
            )
        folder.mkdir(parents=True)
        contract_file = folder / "contract.odcs.yaml"
        contract_file.write_text(drafted.text, "utf-8")
        config = folder / "recordgate.toml"
        # Without `data_dir` the data would lie below the folder that the command is run in.
        config.write_text(
            f'contract = "contract.odcs.yaml"\ndata_dir = ".recordgate"\nport = {port}\n', "utf-8"
        )
        for note in drafted.notes:
            say(note)
        contract = load_contract(contract_file)
        _step(config, "apply", "--yes")
        _import(config, contract, drafted)
        _serve(config, contract)


def _command(config: Path, arguments: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "recordgate", "--config", str(config), *arguments]


def _step(config: Path, *arguments: str) -> None:
    typer.echo(f"$ recordgate {shlex.join(arguments)}", err=True)
    done = subprocess.run(_command(config, arguments), check=False)
    if done.returncode:
        raise SetupError(
            f"`recordgate {arguments[0]}` failed",
            hint=f"what it printed says why; the contract is {config.parent}/contract.odcs.yaml",
        )


def _import(config: Path, contract: Contract, drafted: Drafted) -> None:
    from recordgate.canonical_access import open_canonical
    from recordgate.cli.importing import as_text
    from recordgate.starting.loading import nulls_of, planned, run_all
    from stores.canonical.importing import ImportOptions

    files = {load.type: load.path for load in drafted.loads}
    imports = planned(contract, files, ImportOptions(), nulls_of(drafted.loads))
    settings = Invocation(config=config, verbosity=0).settings()
    with open_canonical(settings) as canonical, ProgressLine("import") as line:
        for one, report in run_all(
            canonical.url,
            contract,
            imports,
            lambda stage, done, total: line.update(done, total, stage),
        ):
            say(f"{one.path.name}: {as_text(report)}")
            if report.state == "refused":
                raise SetupError(
                    f"{one.path.name} was refused", hint="the lines before this say why"
                )


def _serve(config: Path, contract: Contract) -> None:
    """Run `up` until a signal; once all is loaded, ask the first queries, and print those that
    answer."""
    # In a session of its own: Ctrl-C comes from here, once. A second signal ends `up` without
    # draining.
    process = subprocess.Popen(
        _command(config, ["up"]), stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda n, _: process.send_signal(n))
    assert process.stdout is not None
    url = process.stdout.readline().strip().removeprefix("listening on ")
    if not url:
        raise SetupError("`recordgate up` failed", hint="what it printed says why")
    gateway = Client(url)
    if process.stdout.readline().strip() == ALL_LOADED:
        typer.echo(ALL_LOADED, err=True)
        for query in first_queries(contract):
            with contextlib.suppress(StoreUnavailable):
                answer = gateway.query(query)
                if not answer.errors:
                    body = shlex.quote(json.dumps({"query": query}))
                    typer.echo(f"curl {url}/graphql -H 'content-type: application/json' -d {body}")
                    typer.echo(printable(f"  {json.dumps(answer.data, ensure_ascii=False)[:300]}"))
        sys.stdout.flush()
    raise typer.Exit(process.wait())


def first_queries(contract: Contract) -> list[str]:
    """A list with what belongs to its records, and a search with facets: of the types that have the
    most to show."""
    found: list[str] = []
    types = sorted(contract.types.values(), key=lambda t: -sum(not r.many for r in t.relations))
    record = types[0]
    below = [f"{r.graphql} {{ id }}" for r in record.relations if not r.many]
    below += [f"{r.graphql} {{ totalCount }}" for r in record.relations if r.many]
    fields = ["id", *(field_of(record, p) for p in record.properties[:4])]
    selected = " ".join(dict.fromkeys([*fields, *below[:3]]))
    found.append(f"{{ {record.plural}(first: 2) {{ nodes {{ {selected} }} }} }}")
    for record in sorted(types, key=lambda t: -sum(p.search.facet for p in t.properties)):
        facets = [enum_name(field_of(record, p)) for p in record.properties if p.search.facet][:2]
        if record.searchable and facets:
            found.append(
                f'{{ {search_field(record)}(query: "", facets: [{", ".join(facets)}], first: 1)'
                " { totalCount facets { field buckets { value count } } } }"
            )
            break
    return found
