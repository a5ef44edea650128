"""`lint --fix`: mends what has one mending, in the text itself, so that comments, order and
spelling of all else stay as they are. Pure.

A contract that is refused is mended where a finding names its remedy: a misspelled word that is no
matter of access, an enum of bare values, a missing key with one possible value. A contract that is
sound keeps its meaning (its digest): only names that recordgate derives are written down, so that
they stay what they are when the contract grows. Each edit is tried, and left out where it does not
do what it is for.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from stores.contract import pinning
from stores.contract.findings import Finding
from stores.contract.lint import check_texts
from stores.contract.model import Contract, Logical
from stores.contract.shape import contract_digest
from stores.contract.types import FITS, parse_physical
from stores.contract.yaml_edits import Edit, Tree, applied, tree_of

ROUNDS = 8
"""One mending may uncover another mistake; a few times, not for ever."""
ALIKE = 0.8
"""The least likeness of a word to the one that was meant (difflib's ratio)."""

_SPELLED = frozenset(
    ("UNKNOWN_KEY", "UNSUPPORTED_TYPE", "UNKNOWN_EXTENSION", "UNKNOWN_SLA", "BAD_EXTENSION",
     "BAD_RULE")
)  # fmt: skip
"""Findings that a misspelled word makes. Roles and relations are not among them: another one is
another meaning."""
_ACCESS = frozenset(("rowFilter", "masking", "readRoles", "expose"))
"""Custom properties that say who sees what: nobody's guess."""
_TYPES = {
    "int": "integer", "bigint": "integer", "long": "integer", "bool": "boolean", "str": "string",
    "text": "string", "varchar": "string", "float": "number", "double": "number",
    "datetime": "timestamp", "timestamptz": "timestamp", "json": "object", "jsonb": "object",
}  # fmt: skip
"""Other systems' names of a logicalType."""
_CONSTANT = {"kind": "DataContract", "apiVersion": "v3.2.0"}
"""Keys of the contract that can have one value only."""


@dataclass(frozen=True, slots=True)
class Fix:
    """One change: where it begins in the text as it was then, and what it is."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


@dataclass(frozen=True, slots=True)
class Fixed:
    """The texts afterwards, what was changed, in order, and what is still to be said."""

    texts: dict[str, str]
    fixes: tuple[Fix, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _State:
    texts: dict[str, str]
    contract: Contract | None
    findings: list[Finding]

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> _State:
        contract, findings = check_texts(texts)
        return cls(dict(texts), contract, findings)


@dataclass(frozen=True, slots=True)
class _Try:
    fix: Fix
    edit: Edit
    gone: tuple[str, str] | None
    """Code and message of the finding that it ends; None: the meaning stays as it is."""


def fix_texts(texts: Mapping[str, str]) -> Fixed:
    """Mend a contract that is given as texts: file → text."""
    state, fixes = _State.of(texts), list[Fix]()
    for _ in range(ROUNDS):
        done, state = _attempt(state, list(_mendings(state)))
        fixes += done
        if not done:
            break
    for _ in range(ROUNDS):
        done, state = _attempt(state, list(_written_down(state)))
        fixes += done
        if not done:
            break
    return Fixed(state.texts, tuple(fixes), tuple(state.findings))


def _attempt(state: _State, tries: list[_Try]) -> tuple[list[Fix], _State]:
    """All at once where that does what it is for, else half by half."""
    if not tries:
        return [], state
    after = _State.of(_edited(state.texts, tries))
    if _does_it(state, after, tries):
        return [t.fix for t in tries], after
    if len(tries) == 1:
        return [], state
    # The places of the second half are of the text of before: the next round finds them again.
    middle = len(tries) // 2
    done, found = _attempt(state, tries[:middle])
    return (done, found) if done else _attempt(state, tries[middle:])


def _edited(texts: Mapping[str, str], tries: Iterable[_Try]) -> dict[str, str]:
    edits: dict[str, list[Edit]] = {}
    for one in tries:
        edits.setdefault(one.fix.file, []).append(one.edit)
    return {file: applied(text, edits.get(file, ())) for file, text in texts.items()}


def _does_it(before: _State, after: _State, tries: list[_Try]) -> bool:
    if before.contract is not None:
        return after.contract is not None and (
            contract_digest(after.contract) == contract_digest(before.contract)
        )
    had = Counter((f.code, f.message) for f in before.findings)
    has = Counter((f.code, f.message) for f in after.findings)
    broken = any(f.code.startswith("YAML") for f in after.findings)
    return not broken and all(t.gone is None or has[t.gone] < had[t.gone] for t in tries)


# What is wrong ------------------------------------------------------------------------------------


def _mendings(state: _State) -> Iterable[_Try]:
    if state.contract is not None:
        return
    trees = {file: tree_of(text) for file, text in state.texts.items()}
    taken: set[tuple[str, int]] = set()
    for finding in state.findings:
        tree = trees.get(finding.file)
        if finding.severity != "error" or tree is None:
            continue
        found = _mending(tree, finding)
        if found is None:
            continue
        edit, said = found
        if (finding.file, edit.start) in taken:
            continue
        taken.add((finding.file, edit.start))
        yield _Try(Fix(finding.file, finding.line, said), edit, (finding.code, finding.message))


def _mending(tree: Tree, finding: Finding) -> tuple[Edit, str] | None:
    if finding.code == "BAD_ENUM" and finding.message.endswith("is no mapping"):
        return _enum_value(tree, finding)
    if finding.code == "MISSING_KEY" and finding.message.startswith("the contract has no"):
        return _constant(tree, finding)
    if finding.code == "MISSING_TYPE":
        return _logical_type(tree, finding)
    if finding.code in _SPELLED:
        return _word(tree, finding)
    return None


def _word(tree: Tree, finding: Finding) -> tuple[Edit, str] | None:
    """The word that was meant, where it is alike enough."""
    found = tree.scalar_at(finding.line, finding.column)
    if found is None or tree.inside(found, _ACCESS):
        return None
    word = found.value
    meant = re.fullmatch(r"did you mean '([A-Za-z0-9_]+)'\?", finding.hint)
    new = _TYPES.get(word.lower()) if finding.code == "UNSUPPORTED_TYPE" else None
    if new is None and meant is not None and _alike(word, meant[1]):
        new = meant[1]
    if new is None:
        return None
    return Edit(found.start_mark.index, found.end_mark.index, new), f"{word!r} is written {new}"


def _alike(word: str, other: str) -> bool:
    return difflib.SequenceMatcher(None, word.lower(), other.lower()).ratio() >= ALIKE


def _enum_value(tree: Tree, finding: Finding) -> tuple[Edit, str] | None:
    found = tree.scalar_at(finding.line, finding.column)
    if found is None or found.style in ("|", ">"):
        return None
    start, end = found.start_mark.index, found.end_mark.index
    text = tree.text[start:end]
    if "\n" in text or "\r" in text:
        return None
    if found.style is None and re.search(r"[\[\]{},]", text):
        text = "'" + text.replace("'", "''") + "'"
    return Edit(start, end, f"{{value: {text}}}"), f"the enum value {text} is a mapping"


def _constant(tree: Tree, finding: Finding) -> tuple[Edit, str] | None:
    missing = re.fullmatch(r"the contract has no `(\w+)`", finding.message)
    if (
        missing is None
        or missing[1] not in _CONSTANT
        or not isinstance(tree.root, yaml.MappingNode)
    ):
        return None
    line = f"{missing[1]}: {_CONSTANT[missing[1]]}"
    return tree.before_first_key(tree.root, line), f"{line} is added"


def _logical_type(tree: Tree, finding: Finding) -> tuple[Edit, str] | None:
    """The logicalType that the physicalType says, where it says one."""
    node = tree.mapping_at(finding.line, finding.column)
    physical = None if node is None else tree.value(node, "physicalType")
    if node is None or not isinstance(physical, yaml.ScalarNode):
        return None
    found = parse_physical(physical.value.strip())
    if found is None or found.scalar is None or found.array:
        return None
    fitting = [logical for logical, scalars in FITS.items() if found.scalar in scalars]
    fitting = [logical for logical in fitting if logical is not Logical.ARRAY]
    if found.scalar.value == "decimal":
        fitting = [Logical.NUMBER]
    if len(fitting) != 1:
        return None
    line = f"logicalType: {fitting[0].value}"
    return tree.before_key(node, "physicalType", line), f"{line} is added, as the physicalType says"


# What is derived ----------------------------------------------------------------------------------


def _written_down(state: _State) -> Iterable[_Try]:
    """Names that the contract leaves to recordgate."""
    if state.contract is None:
        return
    taken: set[tuple[str, int]] = set()
    for file, text in state.texts.items():
        tree = tree_of(text)
        if tree is None:
            continue
        for edit, line, said in pinning.names_to_write(tree, state.contract):
            if (file, edit.start) not in taken:
                taken.add((file, edit.start))
                yield _Try(Fix(file, line, said), edit, None)
