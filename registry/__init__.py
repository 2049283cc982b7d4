"""The registry: catalogue, signing, web pages and API, MQTT service, monitoring and jobs.

Import from the module that owns the name (`from registry.catalogue import Catalogue`). Only the jobs' own
process (`registry.jobs.child`) imports the trainer.
"""

__all__ = [
    "assigning",
    "blobs",
    "broker",
    "catalogue",
    "client",
    "delivery",
    "enrolment",
    "errors",
    "identity",
    "jobs",
    "monitoring",
    "mqtt",
    "publication",
    "settings",
    "signing",
    "supervisor",
    "web",
]
