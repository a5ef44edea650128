"""Backups: canonical, and what the process that serves it cannot do without, in one folder."""
