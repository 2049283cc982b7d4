"""The MQTT service: what devices send goes into the catalogue, what they ask for goes out in blocks.

`python -m registry.mqtt --home DIR --broker URL` runs it, one process per registry.
"""

__all__ = ["address", "blocks", "ingest", "link", "monitor", "nudges", "service", "state"]
