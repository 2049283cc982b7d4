"""Rehearsals: many simulated devices, each a real agent less its hardware, against a real registry."""

__all__ = ["bench", "cli", "device", "fleet", "readings", "sockets"]
