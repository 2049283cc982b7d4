"""Does this release fit this device: reasons against it, and warnings that leave the decision to a person.

A static answer from the manifest, before anything is fetched. What only running the model shows is preflight's.
"""

import re
from collections.abc import Iterable, Iterator

import msgspec

from devices.errors import NoProviderError
from devices.probe import Probe
from devices.profiles import Profile
from devices.providers import CPU, choose_providers, proven_providers
from protocols.manifest import Manifest
from protocols.onnx_file import custom_operators

_MB = 1024 * 1024
_OPSET_FIELDS = {"": "opset", "ai.onnx": "opset", "ai.onnx.ml": "opset_ml"}
#: Operators that came to ONNX Runtime later than the operator set that they are of.
_SINCE = {"ai.onnx.ml.TreeEnsemble": (1, 21)}


class Fit(msgspec.Struct, frozen=True):
    """The answer. `providers` is what a session asks for, most wanted first; empty where nothing can serve."""

    fits: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()


def fit(manifest: Manifest, profile: Profile, probe: Probe, *, allow_fallback: bool = False) -> Fit:
    """Return whether a device of this profile, being this machine, can serve this release.

    Args:
        allow_fallback: put up with another provider than the first that the profile wants and the release is
            proven on, as an assignment may say.
    """
    providers, reasons, warnings = _providers(manifest, profile, probe, allow_fallback=allow_fallback)
    reasons += [
        *_profile_reasons(manifest, profile),
        *_opset_reasons(manifest, probe),
        *_operator_reasons(manifest, probe),
        *_processor_reasons(manifest, probe),
        *_memory_reasons(manifest, profile, probe),
        *_disk_reasons(manifest, profile, probe),
        *_dtype_reasons(manifest),
    ]
    warnings += [*_memory_warnings(manifest, probe), *_provider_warnings(manifest, profile, providers)]
    warnings += machine_warnings(profile, probe)
    return Fit(not reasons, tuple(reasons), tuple(warnings), providers)


def machine_warnings(profile: Profile, probe: Probe) -> list[str]:
    """Return where the machine is less than, or other than, its profile promises.

    None of them stops a release: a Raspberry Pi profile may be tried on an x86 machine.
    """
    found = []
    if probe.arch != profile.arch:
        found.append(f"profile {profile.name} is for {profile.arch}, and this machine is {probe.arch}")
    if probe.cores < profile.cores:
        found.append(f"profile {profile.name} promises {profile.cores} cores, and {probe.cores} can be used here")
    if probe.memory_bytes < profile.memory_mb * _MB:
        found.append(
            f"profile {profile.name} promises {profile.memory_mb} MB memory, here are {_mb(probe.memory_bytes)}"
        )
    if probe.disk_free_bytes < profile.disk_bytes:
        found.append(f"profile {profile.name} wants {profile.disk_mb} MB disk, {_mb(probe.disk_free_bytes)} are free")
    if probe.memory_limits is False:
        found.append(f"the kernel counts no memory per service, so no limit of it holds{_remedy(probe)}")
    return found


def _remedy(probe: Probe) -> str:
    on_a_pi = "Raspberry Pi" in (probe.board or "")
    return "; add cgroup_enable=memory to /boot/firmware/cmdline.txt and reboot" if on_a_pi else ""


def _providers(
    manifest: Manifest, profile: Profile, probe: Probe, *, allow_fallback: bool
) -> tuple[tuple[str, ...], list[str], list[str]]:
    proven = proven_providers(manifest)
    if proven is not None and not any(name in proven for name in profile.providers):
        return (
            (),
            [f"proven on {_listed(manifest.providers)}; profile {profile.name} has {_listed(profile.providers)}"],
            [],
        )
    if probe.onnxruntime is None:
        return (), [f"ONNX Runtime: {probe.runtime_fault or 'not installed'}"], []
    try:
        choice = choose_providers(profile, probe.providers, proven)
    except NoProviderError as error:
        return (), [str(error)], []
    if not choice.fallback:
        return choice.providers, [], []
    text = (
        f"{choice.wanted} is wanted, and the installed ONNX Runtime {probe.onnxruntime} has {_listed(probe.providers)}"
    )
    if allow_fallback:
        return choice.providers, [], [f"{text}; it will run on {choice.providers[0]}"]
    return choice.providers, [f"{text}; install its build, or assign with allow_fallback"], []


def _profile_reasons(manifest: Manifest, profile: Profile) -> Iterator[str]:
    if manifest.profiles and profile.name not in manifest.profiles:
        yield f"released for {_listed(manifest.profiles)}, not for {profile.name}"


def _opset_reasons(manifest: Manifest, probe: Probe) -> Iterator[str]:
    if probe.onnxruntime is None:
        return
    for domain, version in sorted(manifest.opset.items()):
        field = _OPSET_FIELDS.get(domain)
        if field is not None and version > getattr(probe, field):
            yield (
                f"opset {version} of {domain or 'ai.onnx'}, and the installed ONNX Runtime {probe.onnxruntime} "
                f"reads up to {getattr(probe, field)}; update it"
            )


def _operator_reasons(manifest: Manifest, probe: Probe) -> Iterator[str]:
    custom = custom_operators(manifest.operators)
    if custom:
        yield f"needs the custom operators {_listed(custom[:5])}, which no ONNX Runtime has by itself"
    for operator, since in _SINCE.items():
        if operator in manifest.operators and probe.onnxruntime and _release(probe.onnxruntime) < since:
            yield (
                f"needs the operator {operator}, which ONNX Runtime has since {since[0]}.{since[1]}, and the installed "
                f"one is {probe.onnxruntime}; update it"
            )


def _release(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _processor_reasons(manifest: Manifest, probe: Probe) -> Iterator[str]:
    lacking = [name for name in manifest.cpu_features if name not in probe.cpu_features]
    if lacking:
        yield f"needs a processor with {_listed(lacking)}, and this one ({probe.cpu}) has {_listed(probe.cpu_features)}"


def _memory_reasons(manifest: Manifest, profile: Profile, probe: Probe) -> Iterator[str]:
    needs = manifest.footprint.memory_bytes
    if needs > profile.model_memory_bytes:
        yield f"takes {_mb(needs)} memory, and profile {profile.name} gives a model {profile.model_memory_mb} MB"
    elif needs > probe.memory_bytes:
        yield f"takes {_mb(needs)} memory, and this machine has {_mb(probe.memory_bytes)}"


def _memory_warnings(manifest: Manifest, probe: Probe) -> Iterator[str]:
    needs = manifest.footprint.memory_bytes
    if probe.memory_free_bytes < needs <= probe.memory_bytes:
        yield f"takes {_mb(needs)} memory, and {_mb(probe.memory_free_bytes)} are free now"


def _disk_reasons(manifest: Manifest, profile: Profile, probe: Probe) -> Iterator[str]:
    size = sum(file.size_bytes for file in manifest.files.values())
    if 2 * size > profile.disk_bytes:
        yield f"takes {_mb(size)} disk, twice during a swap, and profile {profile.name} gives {profile.disk_mb} MB"
    elif size > probe.disk_free_bytes:
        yield f"takes {_mb(size)} disk, and {_mb(probe.disk_free_bytes)} are free"


def _dtype_reasons(manifest: Manifest) -> Iterator[str]:
    for spec in manifest.inputs:
        if spec.dtype not in ("float32", "string"):
            yield f"input {spec.name!r} is {spec.dtype}; a stream gives float32 and string"


def _provider_warnings(manifest: Manifest, profile: Profile, providers: tuple[str, ...]) -> Iterator[str]:
    unproven = bool(providers) and profile.providers[0] not in manifest.providers
    if unproven and manifest.elsewhere is not None and providers[0] not in manifest.providers:
        yield f"its publisher did not prove it on {providers[0]}; this device does, with the golden vectors"
    elif unproven and manifest.elsewhere is None:
        yield f"not proven on {profile.providers[0]}, so that stays idle and {providers[0]} serves"
    texts = [spec.name for spec in manifest.inputs if spec.dtype == "string"]
    if providers and providers[0] != CPU and texts:
        yield f"text inputs ({_listed(texts)}) are encoded on the CPU, whichever provider serves"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def _mb(size_bytes: int) -> str:
    return f"{max(1, round(size_bytes / _MB))} MB" if size_bytes else "0 MB"
