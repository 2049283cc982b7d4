"""The agent on a device: pulls signed releases, proves them here, serves sensor streams, reports summaries."""

__all__: list[str] = []
