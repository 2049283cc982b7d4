"""Models of other makers: one module a format, each giving a graph in the form of a release and the original beside it.

Nothing optional is imported here; a framework is imported in a process of its own.
"""

__all__: list[str] = []
