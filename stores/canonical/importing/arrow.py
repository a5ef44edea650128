"""pyarrow's arrays and compute functions, untyped: its stubs lag behind both."""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow.compute

compute: Any = pyarrow.compute

Array: TypeAlias = Any
"""A pyarrow.Array; what it holds is said where it is used."""
