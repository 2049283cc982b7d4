"""What the trainer asks of the side that knows registries. It knows none itself: the front door says who does."""

from pathlib import Path
from typing import Protocol

from protocols.measuring import MeasureGraph
from trainer.errors import RequestError


class Registries(Protocol):
    """Publishes candidates, and has graphs measured on enrolled devices."""

    def publish(self, candidate: Path, registry: str | None, *, token: str | None) -> str:
        """Upload a candidate's folder and return the release that it has become, `model@version`."""

    def measuring(self, registry: str, kind: str) -> MeasureGraph:
        """Return what has graphs measured on devices of a kind that are enrolled at that registry's URL."""


class _Known:
    registries: Registries | None = None


def introduce(registries: Registries) -> None:
    """Say who knows registries; the first that is introduced stays."""
    if _Known.registries is None:
        _Known.registries = registries


def known() -> Registries:
    """Return who knows registries. Raises RequestError where nobody has been introduced."""
    if _Known.registries is None:
        raise RequestError("`import genba` makes this work: only Genba's front door knows registries")
    return _Known.registries
