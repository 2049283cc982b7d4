"""Selectors: which devices somebody means by `press-1`, `*`, `site=osaka`, `profile=x86`, or several by comma (and)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from registry.errors import AssignmentRefusedError, NoDeviceSelectedError, UnknownDeviceError

T = TypeVar("T")


class Facts(NamedTuple):
    """What a selector knows of a device. One that is locked out is meant by its name alone."""

    name: str
    site: str
    profile: str
    locked_out: bool = False


def choose(devices: Sequence[T], selector: str, facts: Callable[[T], Facts]) -> list[T]:
    """Return the devices that a selector means.

    Raises:
        UnknownDeviceError: it names a device that is not there; the text lists those there are.
        NoDeviceSelectedError: it matches none; likewise.
        AssignmentRefusedError: it is not a selector.
    """
    if selector != "*" and "=" not in selector:
        found = [device for device in devices if facts(device).name == selector]
        if not found:
            raise UnknownDeviceError(selector, [facts(device).name for device in devices])
        return found
    terms = [] if selector == "*" else [_term(part) for part in selector.split(",")]
    devices = [device for device in devices if not facts(device).locked_out]
    found = [device for device in devices if all(getattr(facts(device), field) == value for field, value in terms)]
    if not found:
        known = [f"{one.name} (site={one.site}, profile={one.profile})" for one in map(facts, devices)]
        raise NoDeviceSelectedError(selector, known)
    return found


def _term(text: str) -> tuple[str, str]:
    field, _, value = text.strip().partition("=")
    if field not in ("site", "profile") or not value:
        raise AssignmentRefusedError(
            f"selector {text!r} is not one; write a device's name, '*', site=SITE, profile=PROFILE, or site=S,profile=P"
        )
    return field, value
