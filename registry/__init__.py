"""The registry: catalogue, signing, web pages and API, MQTT service, monitoring and jobs.

Import from the module that owns the name (`from registry.catalogue import Catalogue`). Only the jobs' own
process (`registry.jobs.child`) imports the trainer.
"""

__all__ = [
    "assigning",
    "blobs",
    "catalogue",
    "client",
    "delivery",
    "errors",
    "identity",
    "publication",
    "settings",
    "signing",
    "web",
]
