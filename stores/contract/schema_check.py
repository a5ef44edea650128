"""The JSON schema and the model of the package open-data-contract-standard, as findings with
places."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib import resources
from typing import Any

from stores.contract.addresses import is_foreign
from stores.contract.extensions import suggestion
from stores.contract.findings import Findings
from stores.contract.yaml_source import Path, YamlSource

_MAX_ERRORS = 200


@lru_cache(maxsize=1)
def odcs_schema() -> dict[str, Any]:
    text = resources.files("open_data_contract_standard").joinpath("schema.json").read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@lru_cache(maxsize=1)
def _validator() -> Any:
    """The validator of the standard, with a faster `unevaluatedProperties`: jsonschema's own takes
    70 % of the time and names known keys beside a wrong one."""
    from jsonschema import Draft201909Validator, ValidationError, validators

    known: dict[int, set[str]] = {}

    def unknown_keys(_: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if allowed is False and isinstance(instance, dict):
            if id(schema) not in known:
                known[id(schema)] = _known_keys(schema)
            if not known[id(schema)].issuperset(instance):
                yield ValidationError("unknown keys")

    fast = validators.extend(  # type: ignore[no-untyped-call]
        Draft201909Validator, {"unevaluatedProperties": unknown_keys}
    )
    return fast(odcs_schema())


def check_schema(source: YamlSource, findings: Findings) -> None:
    """Add a finding for each thing in the file that ODCS 3.2 does not allow."""
    data = source.data
    if not isinstance(data, dict):
        what = "is empty" if data is None else "is not a mapping"
        findings.add(
            source,
            source.value_place(()),
            "SCHEMA",
            f"the contract {what}",
            "start the file with `apiVersion: v3.2.0`",
        )
        return
    before = len(findings)
    untyped = set(_untyped(data))
    errors = []
    for error in _validator().iter_errors(data):
        errors.append(error)
        if len(errors) >= _MAX_ERRORS:
            break
    # How an enum is written is said by stores.contract.properties.
    bare = [e for e in errors if e.validator == "type" and list(e.absolute_path)[-2:-1] == ["enum"]]
    errors = [e for e in errors if e not in bare]
    for error in sorted(errors, key=lambda e: (len(e.absolute_path), str(list(e.absolute_path)))):
        path: Path = tuple(error.absolute_path)
        if any(path[: len(p)] == p for p in untyped):
            continue  # without a logicalType the schema complains about every type at once
        if path and path[-1] == "to" and is_foreign(error.instance):
            continue  # the short form of another product's property, looked at with the relations
        _report(error, path, source, findings)
    version = data.get("apiVersion")
    if isinstance(version, str) and version.startswith("v2"):
        findings.add(
            source,
            source.value_place(("apiVersion",)),
            "API_VERSION",
            f"{version} is not supported",
            "use v3.2.0",
        )
    if len(findings) == before and not untyped and not bare:
        _check_model(data, source, findings)


def _untyped(data: dict[str, Any]) -> Iterator[Path]:
    """Paths of properties without `logicalType`: findings of their own."""
    pending: list[tuple[Path, Any]] = [(("schema",), data.get("schema"))]
    while pending:
        path, value = pending.pop()
        if isinstance(value, list):
            pending += [((*path, i), v) for i, v in enumerate(value)]
        elif isinstance(value, dict):
            if (len(path) > 2 and path[-2] == "properties" and not value.get("logicalType")) or (
                len(path) > 2 and path[-1] == "items" and not value.get("logicalType")
            ):
                yield path
            for key in ("properties", "items"):
                if key in value:
                    pending.append(((*path, key), value[key]))


def _report(error: Any, path: Path, source: YamlSource, findings: Findings) -> None:
    """Report an error of the validator so that a person can act on it."""
    kind = error.validator
    place = source.value_place(path)
    if kind == "required":
        for key in error.validator_value:
            if isinstance(error.instance, dict) and key not in error.instance:
                findings.add(
                    source, place, "MISSING_KEY", f"{_where(path)} has no `{key}`", f"add `{key}`"
                )
        return
    if kind in ("additionalProperties", "unevaluatedProperties"):
        known = sorted(_known_keys(error.schema))
        for key in error.instance:
            if key not in known:
                findings.add(
                    source,
                    source.key_place((*path, key)),
                    "UNKNOWN_KEY",
                    f"{_where(path)} has no `{key}` in ODCS",
                    _near(key, known, path),
                )
        return
    if kind in ("oneOf", "anyOf", "allOf", "not") and path and "quality" in path:
        return  # operators of quality rules are checked by stores.contract.quality
    if path and path[-1] == "logicalType" and kind == "enum":
        findings.add(
            source, place, "UNSUPPORTED_TYPE", f"no such logicalType: {_short(error.instance)}",
            suggestion(str(error.instance), error.validator_value),
        )  # fmt: skip
        return
    if kind == "type":
        message = (
            f"{_where(path)} must be {_kinds(error.validator_value)}, not"
            f" {_kind_of(error.instance)}"
        )
    elif kind == "enum":
        allowed = ", ".join(str(v) for v in error.validator_value)
        message = f"{_where(path)} is {_short(error.instance)}; it may be: {allowed}"
    elif kind == "pattern":
        message = (
            f"{_where(path)} is {_short(error.instance)}, which does not match"
            f" {error.validator_value}"
        )
    elif kind in ("oneOf", "anyOf"):
        message = f"{_where(path)} matches none of the forms that ODCS allows"
    elif kind == "uniqueItems":
        message = f"{_where(path)} has an element twice"
    elif kind in ("minimum", "exclusiveMinimum", "minItems", "maxItems"):
        message = f"{_where(path)}: {kind} is {error.validator_value}"
    elif kind == "not":
        message = f"{_where(path)} has a key that is not allowed there"
    else:
        message = f"{_where(path)} does not satisfy `{kind}` of the schema"
    findings.add(source, place, "SCHEMA", message)


def _near(key: str, known: list[str], path: Path) -> str:
    if key == "enum" and path and path[-1] == "logicalTypeOptions":
        return "put it beside logicalTypeOptions: enum: [{value: red}, {value: blue}]"
    hint = suggestion(key, known)
    if hint.startswith("did you mean"):
        return hint
    return "put what ODCS does not define into `customProperties`"


def _known_keys(schema: Any) -> set[str]:
    """All keys that a schema, and what it refers to on the same level, has a word for."""
    found: set[str] = set()
    pending, seen = [schema], set()
    while pending:
        part = pending.pop()
        if not isinstance(part, dict) or id(part) in seen:
            continue
        seen.add(id(part))
        found |= set(part.get("properties", ()))
        for key in ("allOf", "anyOf", "oneOf"):
            pending += part.get(key, ())
        pending += [part.get(k) for k in ("if", "then", "else")]
        if "$ref" in part:
            pending.append(_pointed(part["$ref"]))
    return found


def _pointed(reference: str) -> Any:
    part: Any = odcs_schema()
    for step in reference.removeprefix("#/").split("/"):
        part = part[step]
    return part


def _where(path: Iterable[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text or "the contract"


def _kinds(kinds: str | list[str]) -> str:
    named = {"object": "a mapping", "array": "a list", "string": "text", "boolean": "true or false"}
    listed = [kinds] if isinstance(kinds, str) else kinds
    return " or ".join(
        named.get(k, f"a {k}" if k != "integer" else "a whole number") for k in listed
    )


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "a mapping", list: "a list", str: "text", int: "a number", float: "a number"}
    return kinds.get(type(value), "that")


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _check_model(data: dict[str, Any], source: YamlSource, findings: Findings) -> None:
    """The package's model must take what its schema takes, so that other tools read the file
    too."""
    from open_data_contract_standard.model import OpenDataContractStandard
    from pydantic import ValidationError

    try:
        OpenDataContractStandard.model_validate(data)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            path = tuple(step for step in problem["loc"] if not isinstance(step, str) or step)
            findings.add(
                source, source.value_place(path), "SCHEMA", f"{_where(path)}: {problem['msg']}"
            )
