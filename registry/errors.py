"""Every error that the registry raises, grouped by who must act.

RegistryError
├── CallerError                     who asked: a person or a program behind the API or the command line
│   ├── RequestRefusedError         a request that cannot be understood; names the field
│   ├── TooLargeError               a request larger than what it may be
│   ├── NotAuthorisedError          no API token, or a wrong one
│   ├── UnknownDeviceError          no device of that name
│   ├── NoDeviceSelectedError       a selector that matches no device
│   ├── DeviceEnrolledError         a device of that name is enrolled, and nobody asked to replace it
│   ├── UnknownModelError           no model of that name
│   ├── UnknownReleaseError         no release of that model and version
│   ├── UnknownFileError            the release has no such file
│   ├── UnknownJobError             no job of that number
│   ├── NothingWaitsError           a job that left nothing to release
│   ├── UnknownMeasurementError     no measurement of that number
│   ├── MeasurementRefusedError     a graph that no device could measure, or too many of them
│   ├── UnknownDatasetError         no dataset of that digest
│   └── AssignmentRefusedError      an assignment that could not run
│       └── LockedOutError          the device was revoked
├── PublisherError                  who made a release
│   ├── CandidateRefusedError       a candidate that is incomplete, edited or unproven
│   ├── ReleaseExistsError          a release of that name is signed already
│   └── ModelSignatureError         a folder, a key or a certificate that makes no model signature
├── DeviceError                     a device, or who set it up
│   ├── TokenRefusedError           an enrolment token that is unknown, used, expired or another device's
│   ├── CertificateRefusedError     a certificate request for the wrong name or with a weak key
│   ├── ReturnRefusedError          what a stick brings home is not signed by the device
│   ├── SignatureRefusedError       a request over HTTP that no device has signed as it must
│   ├── RenewalRefusedError         a device that may not have its next certificate, or does not prove its present one
│   ├── ResourceMissingError        there is no such resource for this device (404)
│   ├── ResourceNotReadyError       it is being made, and can be had soon (503)
│   └── ResourceGoneError           there was one, and it is gone for good (410)
├── OperatorError                   who runs the registry
│   ├── NotInitialisedError         the home lacks what `genba registry init` makes
│   ├── SettingsError               registry.toml cannot be read
│   ├── CatalogueError              the catalogue cannot be opened
│   ├── PassphraseError             a passphrase that is not there, or that others may read
│   ├── KeyRefusedError             a signing key that cannot be used
│   ├── CeremonyRefusedError        a change of keys or a signature that would leave nothing valid
│   ├── PortInUseError              another process listens there
│   ├── HomeServedError             another process serves that home
│   ├── BrokerUnreachableError      no broker answers
│   └── BrokerFilesError            the broker's files cannot be written, or it does not read them again
└── ClientError                     who runs a client command against a registry
    ├── BundleNotWrittenError       a bundle cannot be written there
    ├── RegistryUnreachableError    nothing answers at that address
    └── RegistryRefusedError        the registry answered with a problem
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from protocols.errors import GenbaError
from protocols.names import ReleaseRef

#: A message lists at most this many known names.
LISTED_NAMES = 8
_ENROL_ONE = "none is enrolled yet; `genba registry token` makes a token that enrols one"


class RegistryError(GenbaError):
    """Root of all errors raised by `registry`."""


# --- who asked -------------------------------------------------------------------------------------------------------


class CallerError(RegistryError):
    """Who asked must ask differently."""


class RequestRefusedError(CallerError):
    """A request cannot be understood. `field` says where."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class TooLargeError(CallerError):
    """A request is larger than what it may be."""

    def __init__(self, what: str, limit_bytes: int) -> None:
        super().__init__(f"{what} is larger than the {limit_bytes:,} bytes that are allowed")
        self.limit_bytes = limit_bytes


class NotAuthorisedError(CallerError):
    """A request lacks the API token, or carries a wrong one. The text never quotes it."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"{reason}; send the API token that `genba registry init` printed as `Authorization: Bearer TOKEN` "
            "(on the command line: --token or GENBA_TOKEN)"
        )


class UnknownDeviceError(CallerError):
    """No device of that name is enrolled."""

    def __init__(self, device: str, known: Iterable[str]) -> None:
        names = list(known)
        way_out = f"known devices: {_listed(names)}" if names else _ENROL_ONE
        super().__init__(f"device {device!r} is not known; {way_out}")
        self.device = device
        self.known = tuple(names)


class NoDeviceSelectedError(CallerError):
    """A selector matches no device."""

    def __init__(self, selector: str, known: Iterable[str]) -> None:
        devices = list(known)
        way_out = f"enrolled are {_listed(devices)}" if devices else _ENROL_ONE
        super().__init__(f"the selector {selector!r} matches no device; {way_out}")
        self.selector = selector


class DeviceEnrolledError(CallerError):
    """A device of that name is enrolled already; another would silently take its place."""

    def __init__(self, device: str, enrolled: str, heard: str) -> None:
        super().__init__(
            f"device {device!r} is enrolled since {enrolled} and was {heard}; a new identity would take its "
            "place: choose another name, or ask for that with `genba registry token ... --replace` "
            '(over REST: "replace": true)'
        )
        self.device = device


class UnknownModelError(CallerError):
    """The catalogue has no model of that name."""

    def __init__(self, model: str, known: Iterable[str]) -> None:
        names = list(known)
        way_out = f"known models: {_listed(names)}" if names else "none is published yet; `genba publish DIR` does it"
        super().__init__(f"model {model!r} is not known; {way_out}")
        self.model = model
        self.known = tuple(names)


class UnknownReleaseError(CallerError):
    """The catalogue has no release of that model and version."""

    def __init__(self, ref: ReleaseRef, known: Iterable[int]) -> None:
        versions = list(known)
        way_out = (
            f"{ref.model} has the versions {_listed([str(version) for version in versions])}"
            if versions
            else f"nothing is published under the model name {ref.model!r}; `genba publish DIR` does it"
        )
        super().__init__(f"release {ref} is not known; {way_out}")
        self.ref = ref
        self.known = tuple(versions)


class UnknownFileError(CallerError):
    """A release has no file of that name."""

    def __init__(self, ref: ReleaseRef, file: str, known: Iterable[str]) -> None:
        super().__init__(f"release {ref} has no file {file!r}; it has {_listed(known)}")
        self.ref = ref
        self.file = file


class UnknownJobError(CallerError):
    """There is no job of that number."""

    def __init__(self, job: int) -> None:
        super().__init__(f"job {job} is not known; GET /api/v1/jobs lists the jobs")
        self.job = job


class NothingWaitsError(CallerError):
    """A job has no candidate that waits for a person to release it."""

    def __init__(self, job: int, reason: str) -> None:
        super().__init__(f"job {job} has nothing to release: {reason}; a new retraining makes a new candidate")
        self.job = job


class UnknownMeasurementError(CallerError):
    """There is no measurement of that number."""

    def __init__(self, number: int) -> None:
        super().__init__(f"measurement {number} is not known; GET /api/v1/measurements lists them")
        self.number = number


class MeasurementRefusedError(CallerError):
    """A graph cannot be measured: no device could run it, none takes such jobs, or too many wait."""


class UnknownDatasetError(CallerError):
    """The registry does not hold a dataset of that digest."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"dataset {sha256!r} is not known; upload it with POST /api/v1/datasets")
        self.sha256 = sha256


class AssignmentRefusedError(CallerError):
    """An assignment could not run on the device it is for."""


class LockedOutError(AssignmentRefusedError):
    """A device was revoked, so there is nothing that it could run."""

    def __init__(self, device: str, site: str, since: float) -> None:
        day = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M UTC")
        super().__init__(
            f"device {device!r} is locked out since {day}; enrol it anew: `genba registry token --home DIR "
            f"--device {device} --site {site} --replace`"
        )
        self.device = device
        self.since = since


# --- who made a release ----------------------------------------------------------------------------------------------


class PublisherError(RegistryError):
    """Who made the release must make it anew."""


class CandidateRefusedError(PublisherError):
    """A candidate is incomplete, was edited after it was made, or lacks its proof."""

    def __init__(self, candidate: str, reason: str) -> None:
        super().__init__(f"candidate {candidate}: {reason}")
        self.candidate = candidate
        self.reason = reason


class ReleaseExistsError(PublisherError):
    """A release of this name is signed already: releases never change."""

    def __init__(self, ref: ReleaseRef) -> None:
        super().__init__(f"release {ref} is signed already and never changes; publish again to get the next version")
        self.ref = ref


class ModelSignatureError(PublisherError):
    """A release folder, a key or a certificate cannot make a model signature."""


# --- a device, or who set it up --------------------------------------------------------------------------------------


class DeviceError(RegistryError):
    """A device, or who set it up, must ask differently."""


class TokenRefusedError(DeviceError):
    """An enrolment token is unknown, used, expired or made for another device. The text never quotes it."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"enrolment token refused: {reason}; "
            "make a new one with `genba registry token --home DIR --device NAME --site SITE`"
        )
        self.reason = reason


class CertificateRefusedError(DeviceError):
    """A certificate request is unreadable, for the wrong name, or with a key that is too weak."""


class ReturnRefusedError(DeviceError):
    """What a stick brings home is not a device's own; nothing of it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"what the stick brings is refused: {reason}; let the device write it again")
        self.reason = reason


class SignatureRefusedError(DeviceError):
    """A request that only a device may make carries no signature of one."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the request's signature is refused: {reason}")
        self.reason = reason


class RenewalRefusedError(DeviceError):
    """A device may not have its next certificate, or does not prove its present one."""

    def __init__(self, device: str, reason: str) -> None:
        super().__init__(
            f"no new certificate for device {device!r}: {reason}; enrol it anew: `genba registry token --home DIR "
            f"--device {device} --site SITE --replace`"
        )
        self.device = device
        self.reason = reason


class ResourceMissingError(DeviceError):
    """There is no such resource for this device."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"resource {resource!r}: there is none of that name for this device")
        self.resource = resource


class ResourceNotReadyError(DeviceError):
    """There will be such a resource soon."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"resource {resource!r} is being made; ask again in a moment")
        self.resource = resource


class ResourceGoneError(DeviceError):
    """There was such a resource, and it is gone for good."""

    def __init__(self, resource: str) -> None:
        super().__init__(f"resource {resource!r}: it was removed from the registry")
        self.resource = resource


# --- who runs the registry -------------------------------------------------------------------------------------------


class OperatorError(RegistryError):
    """Who runs the registry must act."""


class NotInitialisedError(OperatorError):
    """The home lacks what `genba registry init` makes."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"{home} is not a registry's home; make it one with `genba registry init --home {home}`")
        self.home = home


class SettingsError(OperatorError):
    """registry.toml cannot be read; the text names the field."""


class CatalogueError(OperatorError):
    """The catalogue cannot be opened, or was written by a newer Genba."""


class PassphraseError(OperatorError):
    """A passphrase is not there, or others may read it. The text never quotes it."""


class KeyRefusedError(OperatorError):
    """A signing key cannot be used. The text never quotes it."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"key {where}: {reason}")
        self.where = where


class CeremonyRefusedError(OperatorError):
    """A change of keys, or a signature, is refused; nothing has changed."""


class PortInUseError(OperatorError):
    """Another process listens on that port."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__(f"port {port} on {host} is in use by another process; choose another with --port")
        self.host = host
        self.port = port


class HomeServedError(OperatorError):
    """Another process serves that home."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"{home} is served by another `genba registry serve` already; stop that one first")
        self.home = home


class BrokerUnreachableError(OperatorError):
    """No MQTT broker answers at that address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"broker {url}: {reason}; start it, or name another with --broker")
        self.url = url
        self.reason = reason


class BrokerFilesError(OperatorError):
    """The broker's files cannot be written, or it cannot be made to read them again."""


# --- who runs a client command ---------------------------------------------------------------------------------------


class ClientError(RegistryError):
    """Who runs a client command must act."""


class BundleNotWrittenError(ClientError):
    """A bundle cannot be written at that place; what was there is still there."""


class RegistryUnreachableError(ClientError):
    """Nothing answers as a registry at that address."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"registry {url}: {reason}; is it running (`genba registry serve`) and is --registry right?")
        self.url = url
        self.reason = reason


class RegistryRefusedError(ClientError):
    """The registry answered with a problem; `detail` is its own one line."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    text = ", ".join(every[:LISTED_NAMES])
    return f"{text} and {len(every) - LISTED_NAMES} more" if len(every) > LISTED_NAMES else text
