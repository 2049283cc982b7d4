"""What loads, runs and converts a model of one framework; each module is imported in that framework's process alone."""

__all__ = ["form"]
