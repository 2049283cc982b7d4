"""`genba publish` and `genba assign`."""

import argparse
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from protocols.manifest import decode_manifest
from protocols.names import ReleaseRef
from registry.client.rest import RegistryClient, connect
from registry.errors import CandidateRefusedError, RegistryRefusedError, RequestRefusedError

FILES = ("release.json", "model.onnx", "golden.npz", "reference")
ALL_OR_SITE = ("*", "site=", "profile=")


def publish(argv: list[str]) -> int:
    """Upload a candidate; the registry checks it, gives it its version, and signs it."""
    parser = argparse.ArgumentParser("genba publish", description=publish.__doc__)
    parser.add_argument("candidate", type=Path, metavar="DIR", help="what `genba train --out DIR` wrote")
    _add_registry(parser)
    options = parser.parse_args(argv)
    folder: Path = options.candidate
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise CandidateRefusedError(str(folder), f"it has no {', '.join(missing)}; `genba train --out DIR` makes one")
    manifest = decode_manifest((folder / "release.json").read_bytes())
    client = connect(options.registry, options.token)
    reply = client.post_files(f"/models/{manifest.model}/releases", {name: folder / name for name in FILES})
    print(f"published {reply['model']}@{reply['version']}, model digest {reply['digest']}")
    return 0


def assign(argv: list[str]) -> int:
    """Say which devices should run a release."""
    parser = argparse.ArgumentParser(
        "genba assign",
        description="Say which devices should run a release. Devices that run another release of the model keep their "
        "streams; a device that does not run it yet needs --topic and --output-topic, or --assignment.",
    )
    parser.add_argument("release", metavar="MODEL@VERSION")
    parser.add_argument("devices", metavar="DEVICE-OR-SELECTOR", help="a name, '*', 'site=NAME' or 'profile=NAME'")
    parser.add_argument("--topic", help="the stream's sensor messages")
    parser.add_argument("--output-topic", help="where its predictions go")
    parser.add_argument("--stream", default="main", help="the stream's name (default main)")
    parser.add_argument("--input", action="append", default=[], metavar="FEATURE=PATH", help="JSON path of one input")
    parser.add_argument("--key", metavar="PATH", help="JSON path of a value that is copied to each prediction")
    parser.add_argument("--assignment", type=Path, metavar="FILE", help="the whole assignment as JSON")
    parser.add_argument("--allow-fallback", action="store_true", help="accept the CPU where the profile names another")
    _add_registry(parser)
    options = parser.parse_args(argv)
    ref = ReleaseRef.parse(options.release)
    client = connect(options.registry, options.token)
    if options.topic or options.assignment:
        _assign_anew(client, ref, options)
    else:
        changed = client.post("/assignments", {"release": str(ref), "devices": _selector(options.devices)})
        for row in changed:
            print(f"{row['device']}: {ref}, revision {row['revision']}")
    return 0


def _assign_anew(client: RegistryClient, ref: ReleaseRef, options: argparse.Namespace) -> None:
    if options.devices.startswith(ALL_OR_SITE):
        raise RequestRefusedError("DEVICE-OR-SELECTOR", "topics are one device's own: name the device")
    path = f"/devices/{quote(options.devices, safe='')}/assignment"
    body = _read_assignment(options.assignment) if options.assignment else _with_stream(client, path, ref, options)
    reply = client.put(path, body)
    print(f"{options.devices}: {ref}, revision {reply['revision']}")


def _with_stream(client: RegistryClient, path: str, ref: ReleaseRef, options: argparse.Namespace) -> dict[str, Any]:
    """Return the device's assignment with this release and this stream put in, whatever else it runs."""
    if not options.output_topic:
        raise RequestRefusedError("--output-topic", "name the topic where the predictions should go")
    try:
        body = client.get(path) or {}
    except RegistryRefusedError as error:
        if error.status != 404:
            raise
        body = {}
    release = {"model": ref.model, "version": ref.version, "allow_fallback": options.allow_fallback}
    stream = {
        "name": options.stream,
        "model": ref.model,
        "topic": options.topic,
        "output_topic": options.output_topic,
        "inputs": dict(_input(text) for text in options.input),
    }
    if options.key:
        stream["key"] = options.key
    kept = {name: value for name, value in body.items() if name in ("window_s", "confirm_s")}
    releases = [each for each in body.get("releases", ()) if each["model"] != ref.model]
    streams = [each for each in body.get("streams", ()) if each["name"] != options.stream]
    return {**kept, "releases": [*releases, release], "streams": [*streams, stream]}


def _input(text: str) -> tuple[str, str]:
    feature, sign, path = text.rpartition("=")
    if not sign or not feature or not path:
        raise RequestRefusedError("--input", f"{text!r} is not FEATURE=PATH")
    return feature, path


def _read_assignment(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RequestRefusedError("--assignment", f"{path}: there is no such file") from error
    except ValueError as error:
        raise RequestRefusedError("--assignment", f"{path}: not JSON: {error}") from error
    if not isinstance(body, dict):
        raise RequestRefusedError("--assignment", f"{path}: an assignment is a JSON object")
    return {name: value for name, value in body.items() if name not in ("device", "revision", "v")}


def _selector(text: str) -> str | list[str]:
    return text if text.startswith(ALL_OR_SITE) else [text]


def _add_registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", metavar="URL", help="the registry's address (or GENBA_REGISTRY)")
    parser.add_argument("--token", metavar="TOKEN", help="its API token (better in GENBA_TOKEN: arguments are visible)")
