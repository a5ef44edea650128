"""A contract file, or a folder of them → `Contract`, or ContractError with everything that is
wrong."""

from __future__ import annotations

from pathlib import Path

from stores.contract.lint import check
from stores.contract.model import Contract
from stores.errors import ContractError


def load_contract(path: Path) -> Contract:
    """The contract of a file, or of all *.yaml and *.yml files of a folder as one. Raises
    ContractError whose `findings` holds what the linter says; a contract with an error never starts
    anything."""
    contract, findings = check(Path(path))
    errors = [f for f in findings if f.severity == "error"]
    if errors or contract is None:
        first = errors[0]
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise ContractError(
            f"{first}{more}",
            hint=first.hint or "see `recordgate contract lint`",
            findings=tuple(findings),
        )
    return contract
