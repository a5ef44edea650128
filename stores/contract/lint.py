"""The linter: files → findings, and the contract where there is one. Reads, never writes or
connects."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stores.contract.findings import Finding, Findings
from stores.contract.model import Contract
from stores.contract.resolve import resolve
from stores.contract.schema_check import check_schema
from stores.contract.yaml_source import SourceError, TextPosition, YamlSource, parse, read_text

SUFFIXES = (".yaml", ".yml")


def lint_file(path: Path) -> list[Finding]:
    """All findings of a file, or of a folder as one contract, in order of place."""
    return check(path)[1]


def lint_text(text: str, file: str = "contract.yaml") -> list[Finding]:
    """All findings of a contract given as text."""
    findings = Findings()
    source = _parse(text, file, findings)
    if source is not None:
        _check_sources([source], findings, file)
    return findings.sorted()


def check_texts(
    texts: Mapping[str, str], name: str = "contract.yaml"
) -> tuple[Contract | None, list[Finding]]:
    """Check one contract that is given as texts: file → text. Return as `check` does."""
    findings = Findings()
    sources = [s for file, text in texts.items() if (s := _parse(text, file, findings)) is not None]
    contract = _check_sources(sources, findings, name) if len(sources) == len(texts) else None
    return (None if findings.errors else contract), findings.sorted()


def check(path: Path) -> tuple[Contract | None, list[Finding]]:
    """Return the contract of a file or folder (None if there is an error), and all findings."""
    findings = Findings()
    files = contract_files(path, findings)
    sources = [s for f in files if (s := _read(f, findings)) is not None]
    contract = None
    if files and len(sources) == len(files):
        contract = _check_sources(sources, findings, str(path))
    return (None if findings.errors else contract), findings.sorted()


def contract_files(path: Path, findings: Findings) -> list[Path]:
    """The files of a contract: itself, or those of its folder."""
    if not path.is_dir():
        return [path]
    files = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if not files:
        findings.add(
            YamlSource(str(path)),
            TextPosition(),
            "FILE_UNREADABLE",
            "the folder has no *.yaml or *.yml file",
            "name a contract, or a folder of contracts",
        )
    return files


def _read(path: Path, findings: Findings) -> YamlSource | None:
    try:
        text = read_text(path)
    except SourceError as error:
        findings.add(YamlSource(str(path)), error.place, error.code, error.message, error.hint)
        return None
    return _parse(text, str(path), findings)


def _parse(text: str, file: str, findings: Findings) -> YamlSource | None:
    try:
        source = parse(text, file)
    except SourceError as error:
        findings.add(YamlSource(file), error.place, error.code, error.message, error.hint)
        return None
    for problem in source.problems:
        findings.add(source, problem.place, problem.code, problem.message, problem.hint)
    return source


def _check_sources(sources: list[YamlSource], findings: Findings, name: str) -> Contract | None:
    for source in sources:
        check_schema(source, findings)
    if any(not isinstance(source.data, dict) for source in sources):
        return None
    return resolve(sources, findings, name)
