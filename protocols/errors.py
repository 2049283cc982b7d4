"""Every error that the shared rules raise.

GenbaError                  what the `genba` command shows as one line, in every package
└── ProtocolError
    ├── NameRefusedError        a name that cannot travel in topics and paths    (caller)
    ├── MessageRefusedError     bytes that are not a message we speak            (sender)
    │   └── UnknownVersionError a message of a version newer than ours           (sender)
    ├── ManifestError           a release manifest that contradicts itself       (publisher)
    ├── OnnxRefusedError        bytes that are no ONNX model that a device could run  (publisher)
    ├── BrokerAddressError      a broker's address that cannot be read or is unsafe  (operator)
    ├── PathRefusedError        a JSON path that cannot be parsed                (caller)
    ├── ImageRefusedError       bytes that are no image, or not one to be decoded (sender)
    ├── SketchError             sketch bytes that cannot be read                 (sender)
    ├── MetadataFormError       signed metadata that is no metadata in form      (attacker or publisher)
    ├── BundleRefusedError      a folder that is no bundle, or not a whole one   (whoever carried it)
    └── DisagreementError       image and director repositories say different things (attacker or publisher)
"""

from typing import Literal


class GenbaError(Exception):
    """Root of the errors that a person should read as one line: every package's own root derives from it."""


class ProtocolError(GenbaError):
    """Root of all errors raised by `protocols`."""


class NameRefusedError(ProtocolError):
    """A name is not one that topics, paths and certificates can carry."""

    def __init__(self, noun: str, value: str) -> None:
        super().__init__(
            f"{noun} name {value!r} is refused: use 1 to 63 of a-z, 0-9, '-' and '_', starting with a letter or digit"
        )
        self.noun = noun
        self.value = value


class ReleaseRefRefusedError(NameRefusedError):
    """A release is not named as `model@version`."""

    def __init__(self, value: str) -> None:
        super().__init__("release", value)
        self.args = (f"{value!r} names no release; write MODEL@VERSION, such as press@1",)


class NameTooLongError(NameRefusedError):
    """Site and device together do not fit into a certificate's common name."""

    def __init__(self, value: str, limit: int) -> None:
        super().__init__("site and device", value)
        self.args = (f"{value!r}: site and device together have {len(value) - 1} letters, and {limit - 1} fit",)


class MessageRefusedError(ProtocolError):
    """Bytes from the wire are not a valid message of the expected type."""

    def __init__(self, expected: str, reason: str) -> None:
        super().__init__(f"not a valid {expected}: {reason}")
        self.expected = expected
        self.reason = reason


class UnknownVersionError(MessageRefusedError):
    """A message carries a protocol version that this release does not speak."""

    def __init__(self, expected: str, version: int, spoken: int) -> None:
        super().__init__(expected, f"version {version}, and this release speaks {spoken}; update Genba on this side")
        self.version = version


class ManifestError(ProtocolError):
    """A release manifest is unreadable or contradicts itself or its files."""


class OnnxRefusedError(ProtocolError):
    """Bytes are not an ONNX model, not a whole one, or one that no device could run."""


class PathRefusedError(ProtocolError):
    """A JSON path cannot be parsed."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"JSON path {path!r}: {reason}; write it like $.line.temperature, a[0].b or $['Torque [Nm]']")
        self.path = path


class ImageRefusedError(ProtocolError):
    """Bytes are no image that may be decoded. `reason`: `not-an-image`, `broken-image` or `too-large`."""

    def __init__(self, reason: Literal["not-an-image", "broken-image", "too-large"], text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text


class BrokerAddressError(ProtocolError):
    """A broker's address cannot be read, or would send a factory's data over a network in the clear."""


class SketchError(ProtocolError):
    """Sketch bytes cannot be read."""


class MetadataFormError(ProtocolError):
    """Signed metadata has not the form of metadata, whoever signed it."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} is refused: {reason}")
        self.name = name
        self.reason = reason


class BundleRefusedError(ProtocolError):
    """A folder is not a bundle, not a whole one, or holds what a bundle never has. `place` says where."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}; export the bundle again")
        self.place = place
        self.reason = reason


class DisagreementError(ProtocolError):
    """The image and the director repository disagree on a target, so it must not be installed."""

    def __init__(self, target: str, field: str, image: object, director: object) -> None:
        super().__init__(
            f"{target}: the image repository says {field} {image!r}, the director says {director!r}; not installed"
        )
        self.target = target
        self.field = field
