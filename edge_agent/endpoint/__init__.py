"""A local HTTP endpoint beside MQTT: the Open Inference Protocol and Prometheus metrics, on loopback alone.

Nothing of it is imported while `http_port` is 0.
"""

__all__ = [
    "answers",
    "assembly",
    "batch",
    "budget",
    "calls",
    "connection",
    "exchange",
    "guard",
    "intake",
    "metrics",
    "routes",
    "served",
    "server",
    "table_intake",
    "tensors",
    "workers",
]
