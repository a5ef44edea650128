"""Reads the state of a process from the system: it runs, is stopped, or has ended and was not
waited for."""

from __future__ import annotations

from pathlib import Path


def process_state(pid: int) -> str | None:
    """Return the letter of the process' state (proc_pid_stat(5)): T and t are stopped, Z has
    ended. Return None if there is no such process or the system does not say."""
    try:
        told = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        return told.rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
