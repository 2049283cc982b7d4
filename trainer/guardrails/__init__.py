"""Guardrails: what was looked for in the data, what was seen, what was done about it, and how to overrule it.

One rail a module; `check` runs them all. Rails look and say; none changes a value. What a rail costs is bounded by rows
that are spread evenly over the table (`rail.evenly`), so that a million rows or five thousand columns are checked in
seconds, and the same table gives the same answers.
"""

__all__ = ["check", "rail"]
