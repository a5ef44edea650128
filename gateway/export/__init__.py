"""Whole record types as files, streamed and resumable."""
