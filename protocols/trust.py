"""Trust rules: what the image and the director repository must agree on before a device installs a target.

Source: Uptane Standard 2.0.0, section 5.4.4.2, "full verification".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from protocols.errors import DisagreementError


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
