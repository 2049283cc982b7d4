"""Trust rules: what the image and the director repository must agree on before a device installs a target.

Source: Uptane Standard 2.0.0, section 5.4.4.2, "full verification".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from protocols.errors import DisagreementError, MetadataFormError

#: A field of timestamp metadata beside those of TUF: when it was signed. It proves that the time is not earlier.
SIGNED_AT = "x-genba-signed-at"


class TargetNote(msgspec.Struct, frozen=True):
    """What Genba writes into a target's `custom`: for which device and for what hardware it is signed."""

    device: str | None = None
    profiles: tuple[str, ...] = ()


def read_note(path: str, custom: object) -> TargetNote:
    """Return what a target's `custom` says; nothing, where there is none.

    Raises:
        MetadataFormError: it is not what Genba writes.
    """
    try:
        return msgspec.convert({} if custom is None else custom, TargetNote)
    except msgspec.ValidationError as error:
        raise MetadataFormError(path, f"its custom part: {error}") from error


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What one repository's signed metadata says of a target. `profiles` empty: for any hardware."""

    path: str
    length: int
    hashes: Mapping[str, str]
    profiles: tuple[str, ...] = ()
    custom: Mapping[str, Any] = field(default_factory=dict)


def check_agreement(image: TargetFacts | None, director: TargetFacts, profile: str) -> None:
    """Return if a device of this profile may install the target.

    Raises:
        DisagreementError: the image repository does not have it, or length, a hash or the hardware differ.
    """
    if image is None:
        raise DisagreementError(director.path, "target", None, director.path)
    if image.path != director.path:
        raise DisagreementError(director.path, "path", image.path, director.path)
    if image.length != director.length:
        raise DisagreementError(director.path, "length", image.length, director.length)
    common = image.hashes.keys() & director.hashes.keys()
    if "sha256" not in common:
        raise DisagreementError(director.path, "sha256", image.hashes.get("sha256"), director.hashes.get("sha256"))
    for algorithm in sorted(common):
        if image.hashes[algorithm] != director.hashes[algorithm]:
            raise DisagreementError(director.path, algorithm, image.hashes[algorithm], director.hashes[algorithm])
    for facts in (image, director):
        if facts.profiles and profile not in facts.profiles:
            raise DisagreementError(director.path, "profiles", list(image.profiles), profile)


def signed_at_field(at: float) -> dict[str, str]:
    """Return the field that says when a timestamp was signed."""
    return {SIGNED_AT: datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def read_signed_at(fields: Mapping[str, Any]) -> float | None:
    """Return when a timestamp says it was signed (seconds since 1970), or None if it does not say.

    Raises:
        MetadataFormError: it says something that is no time.
    """
    text = fields.get(SIGNED_AT)
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except (TypeError, ValueError):
        raise MetadataFormError("timestamp.json", f"{SIGNED_AT} {str(text)[:40]!r} is no time") from None
