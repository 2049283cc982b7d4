"""The whole loop on one machine. It drives the registry and the agents as an operator would: by command and REST."""

__all__ = ["cli", "line", "loop", "plant", "report"]
