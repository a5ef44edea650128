"""Monitoring of a contract's promises: rules are measured, results stored, shown and counted."""
