"""What was promised, and whether it is kept: rules are measured, results stored, shown and
counted."""
