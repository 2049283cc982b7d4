"""Binding: the assignment that a device should get from what the command line says. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from protocols.assignment import STREAM_LIMITS
from registry.errors import AssignmentRefusedError
from registry.selector import Facts, choose

Json = dict[str, Any]


def chosen(devices: Sequence[Mapping[str, Any]], selector: str) -> list[Json]:
    """Return the devices that a selector means; raises as `registry.selector.choose`."""
    found = choose(
        devices, selector, lambda one: Facts(one["name"], one["site"], one["profile"], bool(one.get("revoked_at")))
    )
    return [dict(one) for one in found]


def parse_inputs(pairs: Sequence[str]) -> dict[str, str]:
    """Read FEATURE=PATH pairs; a feature's name may hold `=`, a path begins after the last one.

    Raises:
        AssignmentRefusedError: one of them is not such a pair.
    """
    inputs = {}
    for pair in pairs:
        feature, sign, path = pair.rpartition("=")
        if not sign or not feature or not path:
            raise AssignmentRefusedError(f"--input {pair!r} is not FEATURE=PATH; write --input 'AT=$.ambient.temp'")
        inputs[feature] = path
    return inputs


def stream_of(model: str, device: Mapping[str, Any], options: Mapping[str, Any]) -> Json:
    """Return a stream's binding; `{device}` and `{site}` in its topics stand for this device's own.

    Args:
        options: topic, output_topic, stream, inputs, key, and those of `STREAM_LIMITS`; None: as the protocol has it.
    """
    names = {"{device}": device["name"], "{site}": device["site"]}
    topics = {}
    for field in ("topic", "output_topic"):
        topic = str(options[field])
        for sign, value in names.items():
            topic = topic.replace(sign, str(value))
        topics[field] = topic
    stream: Json = {"name": options["stream"], "model": model, **topics, "inputs": options["inputs"]}
    more = {name: options.get(name) for name in ("key", *STREAM_LIMITS)}
    return {**stream, **{name: value for name, value in more.items() if value is not None}}


def bound(current: Mapping[str, Any], release: Mapping[str, Any], stream: Mapping[str, Any]) -> Json:
    """Return a device's assignment with the release in its model's place, bound to this stream; all else stays."""
    model, version = release["model"], release["version"]
    held: Json = next((one for one in current.get("releases", ()) if one["model"] == model), {})
    if held and held["version"] != version:
        held = {name: value for name, value in held.items() if name != "attempt"}
    others = [one for one in current.get("releases", ()) if one["model"] != model]
    streams = [one for one in current.get("streams", ()) if one["name"] != stream["name"]]
    body: Json = {"releases": [*others, {**held, **release}], "streams": [*streams, dict(stream)]}
    return {**body, **{field: current[field] for field in ("window_s", "confirm_s") if field in current}}
