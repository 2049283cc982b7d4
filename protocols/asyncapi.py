"""The AsyncAPI document and the JSON Schemas, generated from the types; `python -m protocols.asyncapi --out DIR`.

What is committed under docs/protocol/ is this module's output, and a test holds the two equal.

Source: AsyncAPI 3.0.0; JSON Schema draft 2020-12; AsyncAPI MQTT bindings 0.2.0.
"""

import inspect
from typing import Any, get_args

import msgspec

from protocols.assignment import Assignment
from protocols.enrolment import EnrolmentReply, EnrolmentRequest, Trust
from protocols.manifest import Manifest
from protocols.measuring import Measured, Measuring
from protocols.messages import DOWN, MESSAGE_LIMIT_BYTES, UP, Message
from protocols.payloads import Prediction
from protocols.reference import ReferenceProfile
from protocols.topics import DeviceTopics

Json = dict[str, Any]

#: Media type of what travels under genba/1; JSON Schema's base64 strings are MessagePack `bin` there.
CONTENT_TYPE = "application/vnd.msgpack"
#: Beside the messages: what travels as JSON, as a file of a release, or over HTTP.
_DOCUMENTS = (
    Assignment,
    Manifest,
    ReferenceProfile,
    EnrolmentRequest,
    EnrolmentReply,
    Trust,
    Prediction,
    Measuring,
    Measured,
)
_RETAINED = ("up/status", "down/assignment", "down/measuring")
#: What the registry answers: channel -> channel of the answer.
_REPLIES = {
    "up/blocks": "down/blocks",
    "up/event": "down/ack",
    "up/telemetry": "down/ack",
    "up/renewal": "down/renewal",
}
_CHANNELS: dict[str, type] = {f"up/{name}": kind for name, kind in UP.items()} | {
    f"down/{name}": kind for name, kind in DOWN.items()
}


def asyncapi_document() -> Json:
    """Return the AsyncAPI document of the topics under genba/1, as a device sees them."""
    kinds = get_args(Message)
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Genba device protocol",
            "version": DeviceTopics("s", "d").base.split("/")[1],
            "description": "What a device's agent and the registry say to each other over MQTT 3.1.1 or 5. "
            "Receivers ignore unknown fields and refuse a `v` above their own. "
            f"Strings with contentEncoding base64 are MessagePack bin. No message exceeds {MESSAGE_LIMIT_BYTES} bytes.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "broker.example:8883",
                "protocol": "mqtts",
                "description": "Any MQTT broker: mutual TLS with the device's certificate; plain on loopback alone.",
                "security": [{"$ref": "#/components/securitySchemes/deviceCertificate"}],
            }
        },
        "channels": {_id(channel): _channel(channel, kind) for channel, kind in _CHANNELS.items()},
        "operations": {_id(channel): _operation(channel, kind) for channel, kind in _CHANNELS.items()},
        "components": {
            "messages": {kind.__name__: _message(kind) for kind in kinds},
            "schemas": _clean(dict(sorted(schemas.items()))),
            "securitySchemes": {"deviceCertificate": {"type": "X509"}},
        },
    }


def json_schemas() -> dict[str, Json]:
    """Return type name -> JSON Schema, complete in itself, of every message and document."""
    return {kind.__name__: _schema(kind) for kind in (*get_args(Message), *_DOCUMENTS)}


def generated_files() -> dict[str, bytes]:
    """Return path under docs/protocol/ -> content."""
    files = {"asyncapi.json": _text(asyncapi_document()), "README.md": _readme().encode()}
    return files | {f"schemas/{name}.json": _text(schema) for name, schema in json_schemas().items()}


def _id(channel: str) -> str:
    """`up/status` -> `upStatus`: what AsyncAPI allows as a key that tools make names of."""
    direction, _, name = channel.partition("/")
    return direction + name.capitalize()


def _channel(channel: str, kind: type) -> Json:
    names = {"site": "The plant.", "device": "One enrolled machine; its certificate's name is site.device."}
    return {
        "address": f"genba/1/{{site}}/{{device}}/{channel}",
        "description": _summary(kind),
        "messages": {kind.__name__: {"$ref": f"#/components/messages/{kind.__name__}"}},
        "parameters": {name: {"description": text} for name, text in names.items()},
    }


def _operation(channel: str, kind: type) -> Json:
    operation: Json = {
        "action": "send" if channel.startswith("up/") else "receive",
        "channel": {"$ref": f"#/channels/{_id(channel)}"},
        "messages": [{"$ref": f"#/channels/{_id(channel)}/messages/{kind.__name__}"}],
        "bindings": {"mqtt": {"qos": 1, "retain": channel in _RETAINED, "bindingVersion": "0.2.0"}},
    }
    if channel in _REPLIES:
        reply = _REPLIES[channel]
        answer = f"#/channels/{_id(reply)}/messages/{_CHANNELS[reply].__name__}"
        operation["reply"] = {"channel": {"$ref": f"#/channels/{_id(reply)}"}, "messages": [{"$ref": answer}]}
    return operation


def _message(kind: type) -> Json:
    return {
        "name": kind.__name__,
        "title": kind.__name__,
        "summary": _summary(kind),
        "contentType": CONTENT_TYPE,
        "payload": {"$ref": f"#/components/schemas/{kind.__name__}"},
    }


def _schema(kind: type) -> Json:
    (own,), components = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **own,
        "$defs": _clean(dict(sorted(components.items()))),
    }


def _clean(schema: Any) -> Any:
    """Take the indentation out of descriptions, which Python 3.13 and newer have done already."""
    if isinstance(schema, dict):
        return {
            key: inspect.cleandoc(value) if key == "description" and isinstance(value, str) else _clean(value)
            for key, value in schema.items()
        }
    return [_clean(value) for value in schema] if isinstance(schema, list) else schema


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").splitlines()[0]


def _readme() -> str:
    rows = [
        f"| `genba/1/<site>/<device>/{channel}` | {'device' if channel.startswith('up/') else 'registry'} "
        f"| [{kind.__name__}](schemas/{kind.__name__}.json) | {'yes' if channel in _RETAINED else 'no'} "
        f"| {_summary(kind).partition(': ')[2]} |"
        for channel, kind in _CHANNELS.items()
    ]
    documents = [f"- [{kind.__name__}](schemas/{kind.__name__}.json): {_summary(kind)}" for kind in _DOCUMENTS]
    return "\n".join(
        [
            "# The device protocol",
            "",
            "Generated from the types in `protocols/` by `make docs`; do not edit. "
            "[asyncapi.json](asyncapi.json) says the same for tools.",
            "",
            "Every message is MessagePack at QoS 1. Receivers ignore unknown fields and refuse a `v` above their own. "
            "In the schemas a string with contentEncoding base64 stands for MessagePack `bin`.",
            "",
            "| topic | who writes | message | retained | what it says |",
            "|---|---|---|---|---|",
            *rows,
            "",
            "Other documents that the two sides exchange:",
            "",
            *documents,
            "",
        ]
    )


def _text(document: Json) -> bytes:
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


if __name__ == "__main__":
    import argparse
    from pathlib import Path

    parser = argparse.ArgumentParser(prog="python -m protocols.asyncapi", description="Write the protocol's documents.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    folder: Path = parser.parse_args().out
    for name, content in generated_files().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
