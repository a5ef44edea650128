"""Finds the place, in a product's modules, of what keeps them from being a part of the schema."""

from __future__ import annotations

import inspect
import logging
import re
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import graphql
import strawberry
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.scalar import ScalarDefinition

from stores.errors import SetupError

log = logging.getLogger(__name__)

IMPORT_HINT = "correct the module, or remove it from the setting `extensions`"
NAME_HINT = "give it another name; record types come by record() and extends()"
SLOW_IMPORT = 10.0
"""Seconds of an import after which the log says what is waited for."""
_ROOTS = frozenset(("Query", "Mutation", "Subscription"))
_WORD = re.compile(r"[A-Za-z_]\w*")
_ROOMS = Path(__file__).resolve().parents[2]
_OTHERS = tuple(
    Path(folder).resolve()
    for folder in (
        *(str(Path(str(package.__file__)).parent) for package in (strawberry, graphql)),
        *(str(_ROOMS / room) for room in ("gateway", "recordgate", "stores")),
    )
)
"""Folders whose code is nobody's extension."""
_PYTHON = Path(sysconfig.get_path("stdlib")).resolve()


def own_line(frames: Sequence[traceback.FrameSummary]) -> str:
    """Return file and line of the last frame that is the product's own; of the last one where none
    is."""
    files = [f for f in frames if not f.filename.startswith("<")]
    own = [f for f in files if not _is_others(f.filename)]
    last = (own or files)[-1:]
    return f"{last[0].filename}:{last[0].lineno}" if last else "?"


def _is_others(filename: str) -> bool:
    path = Path(filename).resolve()
    if path.is_relative_to(_PYTHON) and "-packages" not in str(path.relative_to(_PYTHON)):
        return True
    return any(path.is_relative_to(folder) for folder in _OTHERS)


def place_of_error(error: BaseException) -> str:
    """Return file and line of the product's code that raised an error."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    return own_line(traceback.extract_tb(error.__traceback__))


def place_of(kind: Any) -> str:
    """Return file and line of a class or a function."""
    try:
        return f"{inspect.getsourcefile(kind)}:{inspect.getsourcelines(kind)[1]}"
    except (OSError, TypeError):
        return str(getattr(kind, "__module__", "?"))


@contextmanager
def told_when_slow(name: str) -> Iterator[None]:
    """Name in the log the extension whose import takes long, and the line at which it is."""
    thread, over = threading.get_ident(), threading.Event()

    def look_on() -> None:
        if over.wait(SLOW_IMPORT):
            return
        frame = sys._current_frames().get(thread)
        place = own_line(traceback.extract_stack(frame)) if frame is not None else "?"
        log.warning(
            "the import of the extension %s has taken %.0f s and goes on at %s; nothing is served"
            " before it ends",
            name,
            SLOW_IMPORT,
            place,
        )

    threading.Thread(target=look_on, name=f"import of {name}", daemon=True).start()
    try:
        yield
    finally:
        over.set()


# What Strawberry and graphql-core say ---------------------------------------------------------


def of_schema(
    error: Exception, modules: Iterable[str], places: Iterable[tuple[str, str, str]]
) -> SetupError:
    """Return the refusal of modules that form no schema, with the place of the class or the field
    that `error` is about. `places`: type, field and place of all that the modules add."""
    message = " ".join(str(error).replace("❌", " ").split())
    named = ", ".join(modules)
    return SetupError(
        f"{_place_of_fault(error, message, places) or _files(modules)}: the extension {named} and "
        "the contract"
        f" do not form one GraphQL schema: {message}",
        hint=NAME_HINT if "multiple t" in message else IMPORT_HINT,
    )


def _place_of_fault(
    error: Exception, message: str, places: Iterable[tuple[str, str, str]]
) -> str | None:
    for name in ("second_cls", "first_cls", "cls"):
        kind = getattr(error, name, None)
        if isinstance(kind, type) and not kind.__module__.startswith("gateway."):
            return place_of(kind)
    field = getattr(error, "field", None)
    if getattr(field, "base_resolver", None) is not None:
        return place_of_field(type(field), field)
    source = None
    with suppress(Exception):  # Strawberry does not always find it
        source = getattr(error, "exception_source", None)
    if source is not None and not _is_others(str(source.path)):
        return f"{source.path}:{source.error_line}"
    words = set(_WORD.findall(message))
    of_type = [(field in words, place) for kind, field, place in places if kind in words]
    return max(of_type, key=lambda found: found[0], default=(False, None))[1]


def _files(modules: Iterable[str]) -> str:
    return ", ".join(str(getattr(sys.modules.get(m), "__file__", m)) for m in modules)


def place_of_field(kind: type, field: Any) -> str:
    """Return file and line of a field's resolver, or of its class where it has none."""
    resolver = getattr(field, "base_resolver", None)
    return place_of(kind if resolver is None else resolver.wrapped_func)


# Names ----------------------------------------------------------------------------------------


def require_free_types(type_map: Mapping[str, Any], records: set[type], taken: set[str]) -> None:
    """Raise SetupError for a type of a module that has one of the names in `taken`, or one that
    begins as those of GraphQL and federation do. `type_map`: the types as Strawberry knows them."""
    for name, known in type_map.items():
        kind = _class_of(known.definition)
        if kind is None or name in _ROOTS or (isinstance(kind, type) and kind in records):
            continue
        if _federates(known.definition):
            raise SetupError(
                f"{_place_of_type(known.definition, kind)}: {name} has directives of Apollo"
                " Federation, which are not carried into the subgraph",
                hint="declare it with @strawberry.type; record types are the subgraph's entities",
            )
        if name in taken or name.startswith("_"):
            why = "is taken by the contract, or kept for it" if name in taken else "is reserved"
            raise SetupError(
                f"{_place_of_type(known.definition, kind)}: the type name {name} {why}",
                hint=NAME_HINT,
            )


def _federates(definition: Any) -> bool:
    fields = getattr(definition, "fields", None) or ()
    given = [definition, *fields]
    return any(
        type(directive).__module__.startswith("strawberry.federation.")
        for one in given
        for directive in getattr(one, "directives", None) or ()
    )


def _class_of(definition: Any) -> Any:
    """Return the class that stands for a type that a module declares, or None for one of ours and
    of Strawberry's."""
    if isinstance(definition, ScalarDefinition):
        file = definition._source_file
        return None if file is None or _is_others(file) else definition
    kind = (
        definition.wrapped_cls
        if isinstance(definition, StrawberryEnumDefinition)
        else getattr(definition, "origin", None)
    )
    module = str(getattr(kind, "__module__", "gateway."))
    return None if module.startswith(("gateway.", "stores.", "strawberry.")) else kind


def _place_of_type(definition: Any, kind: Any) -> str:
    if isinstance(definition, ScalarDefinition):
        return f"{definition._source_file}:{definition._source_line}"
    return place_of(kind)
