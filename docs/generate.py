"""Writes the reference pages that follow from the code: `make docs`. A test fails when they are
old."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from pydantic import SecretStr

from recordgate.cli.app import build
from recordgate.settings import Settings

REFERENCE = Path(__file__).parent / "reference"

SETTINGS_HEAD = """# Settings

Settings come from `recordgate.toml` in the current folder (else from `.recordgate/recordgate.toml`, which
`recordgate demo` leaves behind; else from the file named with `--config`), overridden by environment
variables: `RECORDGATE_` and the name in capitals. Relative paths in the file are relative to the file.
An unknown setting is an error. Values of secrets never show in logs, errors or `status`.

```toml
contract = "contract.odcs.yaml"
postgres = "postgresql://recordgate@db.internal/products"
postgres_password_file = "/run/secrets/postgres"
port = 8080
```

| setting | default | what it is |
|---|---|---|
"""

COMMANDS_HEAD = """# Commands

`recordgate [--config FILE] [-q|-v] COMMAND`. Results go to stdout, progress and logs to stderr; with
`--json` the result is one JSON value. Exit codes: 0 done · 1 refused or failed, nothing half done · 2 usage ·
3 done, with rows set aside · 4 differences found.
"""


def settings_page() -> str:
    rows = []
    for name, setting in Settings.model_fields.items():
        default = setting.default
        if isinstance(default, SecretStr):
            default = default.get_secret_value()
        if isinstance(default, tuple):
            default = ", ".join(default) or None
        shown = "–" if default is None else f"`{default}`"
        rows.append(f"| `{name}` | {shown} | {setting.description} |\n")
    return SETTINGS_HEAD + "".join(rows)


def commands_page() -> str:
    return COMMANDS_HEAD + "".join(_section(path, c) for path, c in _commands(build()))


def _commands(app: typer.Typer) -> Iterator[tuple[str, Any]]:
    def walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
        if hasattr(command, "commands"):
            for name, child in command.commands.items():
                yield from walk(f"{path} {name}".strip(), child)
        else:
            yield path, command

    yield from walk("", typer.main.get_command(app))


def _section(path: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    words = " ".join(
        f"{p.metavar or p.name.upper()}{'…' if p.nargs == -1 else ''}" for p in arguments
    )
    text = f"\n## `{path}`\n\n    recordgate {path}{' ' + words if words else ''}"
    text += f"{' [OPTIONS]' if options else ''}\n\n{' '.join((command.help or '').split())}\n"
    if options:
        text += "\n| option | what it does |\n|---|---|\n"
    for option in options:
        flags = ", ".join(f"`{flag}`" for flag in option.opts)
        default = option.default
        if default not in (None, False, ()) and not callable(default):
            flags += f" (`{getattr(default, 'value', default)}`)"
        text += f"| {flags} | {' '.join((option.help or '').split()).replace('|', '/')} |\n"
    return text


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


def main() -> None:
    for name, page in PAGES.items():
        (REFERENCE / name).write_text(page(), "utf-8")
        print(f"docs/reference/{name}", file=sys.stderr)


if __name__ == "__main__":
    main()
