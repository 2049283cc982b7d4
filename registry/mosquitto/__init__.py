"""Mosquitto as the broker of a factory: its listener, who may do what there, and keeping both current."""

__all__ = ["access", "files", "keeper", "place"]
