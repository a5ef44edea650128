"""The places of `stores.crash_points`, by the name that the worker's modules know."""

from stores.crash_points import arm, crash_point

__all__ = ["arm", "crash_point"]
