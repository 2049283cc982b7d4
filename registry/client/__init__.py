"""Talking to a registry from outside: its REST API by the standard library alone, and the verbs that use it."""

__all__ = ["cli", "rest"]
