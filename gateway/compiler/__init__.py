"""Shapes to SQL: one prepared statement for a root field, whose one value is the finished JSON.
Pure."""

from gateway.compiler.selects import Compiler
from gateway.compiler.statement import Statement

__all__ = ["Compiler", "Statement"]
