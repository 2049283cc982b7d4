"""`genba publish` and `genba assign`."""

import argparse
import math
import os
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec

from protocols.assignment import MOST_BUDGET_MS, MOST_CONTRIBUTIONS, MOST_MESSAGES, STREAM_LIMITS, Delivery, Overflow
from protocols.errors import NameRefusedError
from protocols.names import ReleaseRef, check_name
from registry.client.binding import bound, chosen, parse_inputs, stream_of
from registry.client.rest import RegistryClient
from registry.client.upload import DEFAULT_REGISTRY, UPLOAD_TIMEOUT_S, Upload, send
from registry.errors import AssignmentRefusedError


def publish(argv: list[str]) -> int:
    """Upload a candidate; print the release that it has become."""
    parser = argparse.ArgumentParser(
        prog="genba publish", description="Upload a candidate to a registry, which checks its proof and signs it."
    )
    parser.add_argument(
        "candidate", type=Path, metavar="DIR", nargs="?", help="the folder that `genba train --out DIR` made"
    )
    parser.add_argument(
        "--job", type=int, metavar="N", help="instead of DIR: release the candidate that retraining N left waiting"
    )
    add_registry(parser)
    options = parser.parse_args(argv)
    if (options.candidate is None) == (options.job is None):
        parser.error("name a candidate's DIR, or a retraining with --job N")
    if options.job is not None:
        print(connect(options, UPLOAD_TIMEOUT_S).send("POST", f"/jobs/{options.job}/release", {})["result"]["release"])
        return 0
    upload = Upload(options.candidate, _show_progress if sys.stderr.isatty() else lambda sent, size: None)
    client = connect(options, UPLOAD_TIMEOUT_S)
    release = send(client, upload)
    print(f"{release['model']}@{release['version']}")
    waits = release.get("waits")
    state = f"waits for {waits['need'] - waits['have']} more signatures of its release keys" if waits else "signed"
    print(f"{state}; {client.url}/models/{release['model']}/releases/{release['version']}", file=sys.stderr)
    return 0


def assign(argv: list[str]) -> int:
    """Say which devices should run a release; print each device and its revision."""
    options = _assign_parser().parse_args(argv)
    client = connect(options)
    ref = resolve(client, options.release)
    if options.assignment is not None:
        _check_no_stream(options, "is not taken beside --assignment: write it into the file")
        changed = [_from_file(client, ref, options)]
    elif options.topic is not None or options.output_topic is not None:
        changed = _bind(client, ref, options)
    else:
        _check_no_stream(options, "needs --topic and --output-topic too: they say which stream it is for")
        changed = client.send("POST", "/assignments", {"release": str(ref), "devices": options.devices})
    for assignment in changed:
        print(f"{assignment['device']}: {ref} (revision {assignment['revision']})")
    return 0


def _assign_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genba assign",
        description="Say which devices should run a release. Without topics, it takes the place of the same model's "
        "release, and streams stay as they are; a device that refused it tries once more.",
    )
    parser.add_argument("release", metavar="MODEL@VERSION", help="or MODEL@champion, MODEL@latest")
    parser.add_argument(
        "devices", metavar="DEVICE-OR-SELECTOR", help="a device, '*', site=SITE, profile=PROFILE, or site=S,profile=P"
    )
    parser.add_argument("--topic", help="where the sensors' messages are; {device} and {site} are filled in")
    parser.add_argument("--output-topic", metavar="TOPIC", help="where the predictions go; likewise")
    parser.add_argument("--stream", default="main", metavar="NAME", help="the stream's name (default main)")
    parser.add_argument(
        "--input",
        action="append",
        default=[],
        metavar="FEATURE=PATH",
        help="JSON path of a model's input, such as 'AT=$.ambient.temp'; by default the key of its own name",
    )
    parser.add_argument("--key", metavar="PATH", help="JSON path of a value that each prediction repeats")
    _add_limits(parser)
    parser.add_argument("--allow-fallback", action="store_true", help="accept the CPU where the profile names another")
    parser.add_argument("--assignment", type=Path, metavar="FILE", help="a whole assignment as JSON, for one device")
    add_registry(parser)
    return parser


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """Add what a stream may ask of the device beyond its topics; what is not given stays as the protocol has it."""
    parser.add_argument(
        "--latency-budget",
        dest="latency_budget_ms",
        metavar="MS",
        type=_budget,
        help="from a message's arrival to its prediction: batches are only so large that it is met (no limit)",
    )
    parser.add_argument("--max-batch", metavar="N", type=_count, help="most messages in one call of the model (256)")
    parser.add_argument("--queue-limit", metavar="N", type=_count, help="messages that may wait (10000)")
    parser.add_argument(
        "--overflow",
        choices=get_args(Overflow),
        help="what a full queue does: drop the oldest (default) or the newest, or refuse the newest with an answer",
    )
    parser.add_argument(
        "--delivery",
        choices=get_args(Delivery),
        help="at-least-once (default): no crash loses a message; at-most-once: acknowledged on arrival, faster",
    )
    parser.add_argument(
        "--contributions",
        metavar="N",
        type=_few,
        help="predictions say what the N inputs that did most added, of a model whose graph tells it (none)",
    )


def _count(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and 1 <= int(text) <= MOST_MESSAGES):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of messages from 1 to {MOST_MESSAGES}")
    return int(text)


def _few(text: str) -> int:
    if not (text.isdecimal() and text.isascii() and int(text) <= MOST_CONTRIBUTIONS):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of inputs from 0 to {MOST_CONTRIBUTIONS}")
    return int(text)


def _budget(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= MOST_BUDGET_MS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of milliseconds above 0 and at most {MOST_BUDGET_MS:.0f}"
        )
    return value


def add_registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--registry",
        metavar="URL",
        default=os.environ.get("GENBA_REGISTRY", DEFAULT_REGISTRY),
        help=f"the registry's address (or GENBA_REGISTRY; default {DEFAULT_REGISTRY})",
    )
    parser.add_argument(
        "--token",
        default=os.environ.get("GENBA_TOKEN"),
        help="the API token; GENBA_TOKEN keeps it out of the process list",
    )


def connect(options: argparse.Namespace, timeout_s: float = 60.0) -> RegistryClient:
    return RegistryClient(options.registry, options.token, timeout_s=timeout_s)


def resolve(client: RegistryClient, text: str) -> ReleaseRef:
    """Read MODEL@VERSION, or ask the registry what MODEL@champion or MODEL@latest is."""
    model, _, version = text.partition("@")
    if version not in ("champion", "latest"):
        return ReleaseRef.parse(text)
    found = client.get(f"/models/{check_name('model', model)}")
    if version == "latest":
        return ReleaseRef(model, client.get(f"/models/{model}/releases")[0]["version"])
    if found["champion"] is None:
        raise AssignmentRefusedError(f"model {model!r} has no champion yet; name a version: {model}@1")
    return ReleaseRef(model, found["champion"])


def _check_no_stream(options: argparse.Namespace, why: str) -> None:
    """Refuse what describes a stream where none is: it would be lost without a word."""
    given = {"--topic": options.topic is not None, "--output-topic": options.output_topic is not None}
    given |= {"--stream": options.stream != "main", "--input": bool(options.input), "--key": options.key is not None}
    given |= {
        f"--{name.removesuffix('_ms').replace('_', '-')}": vars(options)[name] is not None for name in STREAM_LIMITS
    }
    for name, is_given in {**given, "--allow-fallback": options.allow_fallback}.items():
        if is_given:
            raise AssignmentRefusedError(f"{name} {why}")


def _bind(client: RegistryClient, ref: ReleaseRef, options: argparse.Namespace) -> list[Any]:
    if options.topic is None or options.output_topic is None:
        missing = "--topic" if options.topic is None else "--output-topic"
        raise AssignmentRefusedError(f"{missing} is missing: a stream needs both, where sensors are and predictions go")
    given = {**vars(options), "inputs": parse_inputs(options.input)}
    changed = []
    for device in chosen(client.get("/devices"), options.devices):
        place = f"/devices/{device['name']}/assignment"
        release: dict[str, Any] = {"model": ref.model, "version": ref.version}
        if options.allow_fallback:
            release["allow_fallback"] = True
        body = bound(client.get(place), release, stream_of(ref.model, device, given))
        changed.append(client.send("PUT", place, body))
    return changed


def _from_file(client: RegistryClient, ref: ReleaseRef, options: argparse.Namespace) -> Any:
    try:
        body = msgspec.json.decode(options.assignment.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise AssignmentRefusedError(f"--assignment {options.assignment}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AssignmentRefusedError(f"--assignment {options.assignment}: not a JSON object: {error}") from error
    try:
        check_name("device", options.devices)
    except NameRefusedError as error:
        raise AssignmentRefusedError(f"--assignment is for one device, and {options.devices!r} is not one") from error
    others = [one for one in body.get("releases", []) if one.get("model") != ref.model]
    body["releases"] = [*others, {"model": ref.model, "version": ref.version}]
    return client.send("PUT", f"/devices/{options.devices}/assignment", body)


def _show_progress(sent: int, size: int) -> None:
    end = "\n" if sent >= size else ""
    print(f"\ruploading {sent / size:4.0%} of {size / 1e6:.1f} MB", end=end, file=sys.stderr, flush=True)
