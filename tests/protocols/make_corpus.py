"""Write tests/protocols/corpus/: bytes as the wire carries them, and what a receiver makes of them.

    PYTHONPATH=.:tests python tests/protocols/make_corpus.py

Run once a protocol version; what is committed then binds every later release. Each case is NAME.bin beside
NAME.json, which says what reads it (`kind`) and either the `value` or the `error` with a part of its text.
`canonical` says that this release writes the same value as the same bytes.
"""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
from simulators.sample_documents import assignment, category_summary, manifest, numeric_summary, reference

from protocols.assignment import encode_assignment
from protocols.blocks import block_digest
from protocols.enrolment import EnrolmentReply, EnrolmentRequest, Trust
from protocols.feeding import FIGURES, Image, StatePair, Window
from protocols.manifest import Manifest, TensorSpec, Tolerance, Variant, encode_manifest
from protocols.measuring import Measuring, MeasuringOrder, encode_measuring
from protocols.messages import (
    Ack,
    AssignmentChanged,
    Block,
    BlockRequest,
    Event,
    HeldRelease,
    MeasuringChanged,
    ServedStream,
    Status,
    Telemetry,
    encode,
)
from protocols.reference import encode_reference
from protocols.renewal import RenewalReply, RenewalRequest

CORPUS = Path(__file__).parent / "corpus"
pack = msgspec.msgpack.encode


STATE = (StatePair("before", "after", (1, 1, 8)),)
IMAGE = Image("pixels", 224, 160, "BGR", "NHWC", mean=(0.5, 0.25, 0.125), resize="fit", batch=1)


def fed(feeding: Window | Image, state: tuple[StatePair, ...]) -> Manifest:
    names = FIGURES if isinstance(feeding, Image) else ("temperature", "pressure")
    inputs = tuple(TensorSpec(name, "float32", low=0.0, high=255.0) for name in names)
    return msgspec.structs.replace(manifest(), inputs=inputs, feeding=feeding, state=state, v=2)


def reduced() -> Manifest:
    """A table's, with a variant in less precision."""
    plain = manifest()
    files = {**plain.files, "model.int8.onnx": plain.files["model.onnx"]}
    variant = Variant("model.int8.onnx", Tolerance(1.0, 0.0), "by ONNX Runtime", 0.5, 0.1, 0)
    return msgspec.structs.replace(plain, files=files, variants={"int8": variant}, v=2)


def telemetry() -> Telemetry:
    return Telemetry(
        id=41,
        stream="main",
        model="ccpp",
        version=3,
        provider="CPUExecutionProvider",
        start=1767323045.0,
        end=1767323060.0,
        predictions=4,
        rejected={"not JSON": 2},
        dropped=1,
        bytes_in=612,
        latency=numeric_summary(),
        numeric={"temperature": numeric_summary()},
        categories={"shift": category_summary()},
        outputs={"prediction": numeric_summary()},
        sample="not JSON: it begins with 'x'",
    )


def status() -> Status:
    return Status(
        at=1767323045.5,
        online=True,
        agent_version="0.1.0",
        profile="x86",
        revision=7,
        streams=(ServedStream("main", "ccpp", 3, "CPUExecutionProvider", 120, 2),),
        releases=(HeldRelease("ccpp", 2, "rolled-back", "it was slower"), HeldRelease("ccpp", 3, "confirmed")),
        probe={"cores": 4, "cpu_features": ["avx2"], "onnxruntime": None},
        outbox_waiting=3,
    )


BLOCK = Block(9, 2, 2060, b"twelve bytes", block_digest(b"twelve bytes"))
REQUEST = BlockRequest(9, "image/targets/ccpp/3/ab.model.onnx", 1024, 2, b"\x05")
ORDERS = (
    MeasuringOrder(number=12, model="ccpp", expires_at=1767323645.0, seconds=60.0),
    MeasuringOrder(number=14, model="measured", expires_at=1767323700.5, seconds=60.0),
)
ENROL = EnrolmentRequest("s" * 32, "press-1", "osaka", "x86", "-----BEGIN CERTIFICATE REQUEST-----", {"cores": 2})
REPLY = EnrolmentReply("-----BEGIN CERTIFICATE-----", Trust(b"{}", b"{}", "ca"), "mqtt://127.0.0.1:1883")


def valid() -> dict[str, tuple[str, bytes, bool]]:
    """Name -> (kind, bytes, canonical)."""
    messages: dict[str, Any] = {
        "status": status(),
        "status-last-will": Status(at=1.0, online=False),
        "event": Event(7, 1767323045.0, "refused", "error", "golden vectors: 夜 differs", "ccpp", 3, {"rows": [1, 2]}),
        "event-least": Event(1, 0.0, "started", "info", ""),
        "telemetry": telemetry(),
        "block-request": REQUEST,
        "block": BLOCK,
        "block-gone": Block(9, status=410, reason="ccpp@3 was withdrawn"),
        "assignment-changed": AssignmentChanged(2**53),
        "measuring-changed": MeasuringChanged(12),
        "ack": Ack((1, 2, 2**40)),
        "ack-none": Ack(()),
        "renewal-request": RenewalRequest("1f", "-----BEGIN CERTIFICATE REQUEST-----", b"\x30\x45"),
        "renewal-reply": RenewalReply("-----BEGIN CERTIFICATE-----"),
        "renewal-refused": RenewalReply(reason="it is locked out"),
    }
    cases = {name: (type(message).__name__, encode(message), True) for name, message in messages.items()}
    cases |= {
        "assignment": ("Assignment", encode_assignment(assignment()), True),
        "measuring": ("Measuring", encode_measuring(Measuring("press-1", ORDERS)), True),
        "manifest": ("Manifest", encode_manifest(manifest()), True),
        "manifest-window-and-state": ("Manifest", encode_manifest(fed(Window("rows", 24), STATE)), True),
        "manifest-variant": ("Manifest", encode_manifest(reduced()), True),
        "manifest-image": ("Manifest", encode_manifest(fed(IMAGE, ())), True),
        "reference": ("ReferenceProfile", encode_reference(reference()), True),
        "enrolment-request": ("EnrolmentRequest", msgspec.json.encode(ENROL), True),
        "enrolment-reply": ("EnrolmentReply", msgspec.json.encode(REPLY), True),
    }
    # What others may write: another order, more fields, wider numbers, explicit defaults.
    cases |= {
        "ack-field-of-tomorrow": ("Ack", pack({"ids": [5], "v": 1, "why": {"deep": [None, b"x"]}}), False),
        "ack-without-version": ("Ack", pack({"ids": [5]}), False),
        "ack-other-order": ("Ack", pack({"v": 1, "ids": [5]}), False),
        "ack-wide-integers": (
            "Ack",
            b"\x82\xa3ids\xdd\x00\x00\x00\x01\xd3" + (5).to_bytes(8, "big") + b"\xa1v\xcc\x01",
            False,
        ),
        "status-whole-seconds": ("Status", pack({"at": 5, "online": True}), False),
        "status-explicit-defaults": (
            "Status",
            pack({"at": 5.0, "online": True, "streams": [], "probe": {}, "v": 1}),
            False,
        ),
        "status-field-twice": ("Status", b"\x83\xa2at\x01\xa2at\x02\xa6online\xc3", False),
        "assignment-least": ("Assignment", b' {"device":"d","revision":1} \n', False),
        "measuring-least": ("Measuring", b'{"device":"d"}', True),
        "assignment-field-of-tomorrow": ("Assignment", b'{"device":"d","revision":1,"rollout":{"group":2}}', False),
    }
    return cases


def invalid() -> dict[str, tuple[str, bytes, str, str]]:
    """Name -> (kind, bytes, error, part of its text)."""
    block = msgspec.msgpack.decode(encode(BLOCK))
    event = msgspec.msgpack.decode(encode(Event(1, 0.0, "k", "info", "t")))
    plan = msgspec.json.decode(encode_assignment(assignment()))
    page = msgspec.json.decode(encode_manifest(manifest()))
    stream = plan["streams"][0]
    refused, json_of = "MessageRefusedError", msgspec.json.encode
    return {
        "empty": ("Ack", b"", refused, "not a valid Ack"),
        "json-for-messagepack": ("Ack", b'{"ids":[1]}', refused, "not a valid Ack"),
        "array-for-map": ("Ack", pack([[1], 1]), refused, "Expected `object`"),
        "nothing": ("Ack", b"\xc0", refused, "Expected `object`"),
        "reserved-byte": ("Ack", b"\xc1", refused, "not a valid Ack"),
        "cut-short": ("Telemetry", encode(telemetry())[:200], refused, "truncated"),
        "trailing-bytes": ("Ack", encode(Ack((1,))) + b"\x00", refused, "trailing"),
        "length-beyond-the-end": ("Ack", b"\x81\xa3ids\xdd\xff\xff\xff\xff", refused, "not a valid Ack"),
        "deep-nesting": ("Event", b"\x81\xa6detail" + b"\x91" * 5000, refused, "not a valid Event"),
        "text-not-utf8": ("Event", pack(event).replace(b"\xa1t", b"\xa1\xff"), refused, "not a valid Event"),
        "field-missing": ("Event", pack({"id": 1, "at": 0.0}), refused, "missing required field"),
        "level-unknown": ("Event", pack(event | {"level": "fatal"}), refused, "$.level"),
        "number-for-text": ("Event", pack(event | {"text": 7}), refused, "$.text"),
        "text-for-number": ("Status", pack({"at": "now", "online": True}), refused, "$.at"),
        "number-for-truth": ("Status", pack({"at": 1.0, "online": 1}), refused, "$.online"),
        "text-for-bytes": ("Block", pack(block | {"data": "twelve bytes"}), refused, "$.data"),
        "fraction-for-integer": ("Block", pack(block | {"index": 1.5}), refused, "$.index"),
        "state-unknown": (
            "Status",
            pack({"at": 1.0, "online": True, "releases": [{"model": "m", "version": 1, "state": "happy"}]}),
            refused,
            "$.releases[0].state",
        ),
        "version-higher": ("Ack", pack({"ids": [1], "v": 2}), "UnknownVersionError", "update Genba on this side"),
        "version-higher-and-other-fields": ("Ack", pack({"v": 9, "acks": "all"}), "UnknownVersionError", "version 9"),
        "version-text": ("Ack", pack({"ids": [1], "v": "1"}), refused, "$.v"),
        "assignment-not-json": ("Assignment", b"{", refused, "not a valid assignment"),
        "assignment-version-higher": ("Assignment", json_of(plan | {"v": 2}), "UnknownVersionError", "version 2"),
        "assignment-device-name": ("Assignment", json_of(plan | {"device": "../x"}), "NameRefusedError", "'../x'"),
        "assignment-topic-wildcard": (
            "Assignment",
            json_of(plan | {"streams": [stream | {"topic": "line/#"}]}),
            refused,
            "'line/#'",
        ),
        "assignment-topic-ours": (
            "Assignment",
            json_of(plan | {"streams": [stream | {"output_topic": "genba/1/a/b/up/status"}]}),
            refused,
            "outside genba/",
        ),
        "assignment-model-not-assigned": (
            "Assignment",
            json_of(plan | {"streams": [stream | {"model": "other"}]}),
            refused,
            "'other' is not among",
        ),
        "assignment-path": (
            "Assignment",
            json_of(plan | {"streams": [stream | {"inputs": {"a": "$.x["}}]}),
            "PathRefusedError",
            "$.x[",
        ),
        "measuring-order-twice": (
            "Measuring",
            encode_measuring(Measuring("d", (ORDERS[0], ORDERS[0]))),
            refused,
            "must rise",
        ),
        "measuring-for-ever": (
            "Measuring",
            encode_measuring(Measuring("d", (msgspec.structs.replace(ORDERS[0], seconds=1e9),))),
            refused,
            "$.orders[0].seconds",
        ),
        "measuring-version-higher": ("Measuring", b'{"device":"d","v":2}', "UnknownVersionError", "version 2"),
        "manifest-not-json": ("Manifest", b"\x89PNG", "ManifestError", "release.json"),
        "manifest-version-higher-still": ("Manifest", json_of(page | {"v": 3}), "ManifestError", "version 3"),
        "manifest-feeding-of-tomorrow": (
            "Manifest",
            json_of(page | {"v": 2, "feeding": {"kind": "video", "tensor": "x"}}),
            "ManifestError",
            "Invalid value 'video'",
        ),
        "manifest-variant-of-version-1": (
            "Manifest",
            encode_manifest(msgspec.structs.replace(reduced(), v=1)),
            "ManifestError",
            "version 1 with feeding, state or variants, which are of 2",
        ),
        "manifest-version-higher": ("Manifest", json_of(page | {"v": 2}), "ManifestError", "version 2"),
        "manifest-without-model": ("Manifest", json_of(page | {"files": {}}), "ManifestError", "no model.onnx"),
        "manifest-dtype": (
            "Manifest",
            json_of(page | {"inputs": [{"name": "a", "dtype": "float64"}]}),
            "ManifestError",
            "$.inputs[0].dtype",
        ),
        "manifest-one-class": (
            "Manifest",
            json_of(page | {"task": "classification", "classes": ["a"]}),
            "ManifestError",
            "two classes",
        ),
        "reference-cut-short": ("ReferenceProfile", encode_reference(reference())[:50], "SketchError", "reference"),
        "reference-version-higher": (
            "ReferenceProfile",
            pack(msgspec.msgpack.decode(encode_reference(reference())) | {"v": 2}),
            "SketchError",
            "version 2",
        ),
    }


def readable(kind: str, data: bytes) -> Any:
    """Return what the bytes say, as JSON; bytes as {"base64": ...}. Read by msgspec alone, not by our decoders."""
    if data[:1].strip() in (b"", b"{"):
        return json.loads(data)
    return _readable(msgspec.msgpack.decode(data))


def _readable(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {key: _readable(inner) for key, inner in value.items()}
    return [_readable(inner) for inner in value] if isinstance(value, list) else value


def main() -> None:
    shutil.rmtree(CORPUS, ignore_errors=True)
    for name, (kind, data, canonical) in valid().items():
        _write("valid", name, data, {"kind": kind, "canonical": canonical, "value": readable(kind, data)})
    for name, (kind, data, error, text) in invalid().items():
        _write("invalid", name, data, {"kind": kind, "error": error, "text": text})


def _write(side: str, name: str, data: bytes, expectation: dict[str, Any]) -> None:
    folder = CORPUS / side
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.bin").write_bytes(data)
    page = json.dumps(expectation, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    (folder / f"{name}.json").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
