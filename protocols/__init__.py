"""What registry and agent say to each other: pure types and rules, no I/O, no clock, no sibling imports.

One module per idea; import from the module that owns the name (`from protocols.manifest import Manifest`).
"""

__all__ = [
    "assignment",
    "asyncapi",
    "blocks",
    "broker",
    "bundles",
    "card",
    "distances",
    "drift",
    "enrolment",
    "errors",
    "feeding",
    "handshake",
    "images",
    "manifest",
    "messages",
    "metadata_form",
    "names",
    "onnx_file",
    "onnx_wire",
    "patches",
    "payloads",
    "placement",
    "reference",
    "renewal",
    "resources",
    "returns",
    "signed_request",
    "sketch_bytes",
    "sketches",
    "summaries",
    "topics",
    "trust",
]
