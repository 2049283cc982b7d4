"""`genba devices`: the profiles that there are, what this machine has, and the kit that installs an agent."""

import argparse
import json
from pathlib import Path

import msgspec

from devices.errors import DeviceError
from devices.fit import Fit, fit, machine_warnings
from devices.kits import write_kit
from devices.kits.runtimes import runtime_of
from devices.probe import Probe, read_probe
from devices.profiles import Profile, list_profiles, load_profile
from devices.providers import choose_providers
from protocols.manifest import Manifest, decode_manifest

_MB = 1024 * 1024


_PROBE = (
    "Say what this machine has: processor, memory, disk, ONNX Runtime and its providers. With --profile, what a device "
    "of that profile would run on here, and where the machine falls short. With --release too, whether it fits; "
    "the exit status is 1 where it does not."
)


class HomeMissingError(DeviceError):
    """The folder whose disk is asked for is not there."""


class ReleaseUnreadableError(DeviceError):
    """There is no release to compare with."""


def devices(argv: list[str]) -> int:
    """Run `genba devices ...`. Returns the exit status: 1 where the release does not fit."""
    arguments = _parser().parse_args(argv)
    if arguments.action == "list":
        return _list(as_json=arguments.json)
    if arguments.action == "kit":
        return _kit(arguments)
    return _probe(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="genba devices", description="Device profiles, and what this machine has.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="list the device profiles", description="List the device profiles.")
    listing.add_argument("--json", action="store_true", help="for a machine")
    told = "look at this machine; compare it with a profile and a release"
    probe = actions.add_parser("probe", help=told, description=_PROBE)
    probe.set_defaults(refuse=probe.error)
    probe.add_argument("--json", action="store_true", help="for a machine")
    probe.add_argument("--profile", metavar="P", help="compare with this profile (`genba devices list`)")
    probe.add_argument("--release", metavar="DIR", type=Path, help="does this release folder fit? needs --profile")
    probe.add_argument("--home", metavar="DIR", type=Path, default=Path(), help="whose disk counts (default: here)")
    told = "write what installs an agent on a board: unit, container, wheels, steps"
    kit = actions.add_parser("kit", help=told, description=f"{told.capitalize()}.")
    kit.add_argument("profile", metavar="PROFILE", help="one of `genba devices list`")
    kit.add_argument("--out", metavar="DIR", type=Path, required=True, help="an empty or new folder")
    kit.add_argument("--force", action="store_true", help="write over what is there")
    actions.add_parser("tune", help="measure how a release serves best on this machine", add_help=False)
    actions.add_parser("measure", help="measure a candidate on enrolled devices, before it is released", add_help=False)
    parser.epilog = "`genba devices ACTION --help` explains one."
    return parser


def _list(*, as_json: bool) -> int:
    profiles = list_profiles()
    if as_json:
        print(json.dumps([msgspec.to_builtins(profile) for profile in profiles], indent=2))
        return 0
    width = max(len(profile.name) for profile in profiles)
    for profile in profiles:
        print(f"{profile.name:<{width}}  {profile.title}")
        print(
            f"{'':<{width}}  {profile.arch}, {profile.cores} cores, {profile.memory_mb} MB, a model up to "
            f"{profile.model_memory_mb} MB, {profile.threads} threads; {_short(profile.providers)}"
        )
        print(f"{'':<{width}}  {profile.notes}")
    return 0


def _kit(arguments: argparse.Namespace) -> int:
    profile = load_profile(arguments.profile)
    written = write_kit(profile, arguments.out, force=arguments.force)
    print(f"{arguments.out}: {', '.join(path.name for path in written)}")
    print(f"ONNX Runtime for {profile.name}: {runtime_of(profile).wheel}; README.md has the steps")
    return 0


def _probe(arguments: argparse.Namespace) -> int:
    if arguments.release is not None and arguments.profile is None:
        arguments.refuse("--release needs --profile")
    if not arguments.home.is_dir():
        raise HomeMissingError(f"--home {arguments.home}: no such folder; its disk is what counts")
    profile = load_profile(arguments.profile) if arguments.profile else None
    manifest = _read_manifest(arguments.release) if arguments.release else None
    probe = read_probe(arguments.home)
    result = fit(manifest, profile, probe) if manifest and profile else None
    if arguments.json:
        print(json.dumps(_as_json(probe, profile, result), indent=2))
    else:
        _print_probe(probe)
        if profile:
            _print_comparison(probe, profile, manifest, result)
    return 0 if result is None or result.fits else 1


def _read_manifest(folder: Path) -> Manifest:
    try:
        return decode_manifest((folder / "release.json").read_bytes())
    except OSError as error:
        raise ReleaseUnreadableError(f"--release {folder}: no release.json there ({error.strerror})") from error


def _as_json(probe: Probe, profile: Profile | None, result: Fit | None) -> dict[str, object]:
    page: dict[str, object] = dict(probe.flat())
    if profile:
        page["profile"] = profile.name
        page["warnings"] = machine_warnings(profile, probe)
    if result:
        page["fit"] = msgspec.to_builtins(result)
    return page


def _print_probe(probe: Probe) -> None:
    rows = [
        ("machine", f"{probe.board or probe.cpu}, {probe.arch}, {probe.system}"),
        ("cores", f"{probe.cores}"),
        ("memory", f"{probe.memory_bytes // _MB} MB, {probe.memory_free_bytes // _MB} MB free"),
        ("disk", f"{probe.disk_free_bytes // _MB} MB free"),
        ("cpu features", " ".join(probe.cpu_features) or "none that matter"),
        ("accelerators", "; ".join(probe.accelerators) or "none"),
        ("onnxruntime", probe.onnxruntime or f"none: {probe.runtime_fault}"),
        ("providers", _short(probe.providers) or "none"),
        ("opsets", f"ai.onnx up to {probe.opset}, ai.onnx.ml up to {probe.opset_ml}"),
    ]
    for name, text in rows:
        print(f"{name:<13}{text}")


def _print_comparison(probe: Probe, profile: Profile, manifest: Manifest | None, result: Fit | None) -> None:
    print(f"{'profile':<13}{profile.name}: {profile.title}")
    if result is None or manifest is None:
        try:
            print(f"{'runs on':<13}{_short(choose_providers(profile, probe.providers).providers)}")
        except DeviceError as error:
            print(f"{'runs on':<13}nothing: {error}")
        lines = [("warning", text) for text in machine_warnings(profile, probe)]
    else:
        name = manifest.release if manifest.version else f"candidate of {manifest.model}:"
        print(f"{'release':<13}{name} {'fits' if result.fits else 'does not fit'}")
        if result.providers:
            print(f"{'runs on':<13}{_short(result.providers)}")
        lines = [("reason", text) for text in result.reasons] + [("warning", text) for text in result.warnings]
    for name, text in lines:
        print(f"{name:<13}{text}")


def _short(providers: tuple[str, ...]) -> str:
    return ", ".join(name.removesuffix("ExecutionProvider") for name in providers)
