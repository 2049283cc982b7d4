"""The settings that are tried first of a family, as where the extra `boosting` leaves none to it."""

from collections.abc import Sequence

import pytest

from trainer.families import FAMILIES, Parameters, Shape
from trainer.search.loop import waves


def first_settings(family: str, shape: Shape) -> Sequence[Parameters]:
    """Return them; `boosted` has some only where LightGBM is not installed."""
    with pytest.MonkeyPatch.context() as patch:
        if family == "boosted":
            patch.setattr("trainer.families.boosted.find_spec", lambda name: None)
        return FAMILIES[family].starts(shape)


def starts(shape: Shape) -> list[tuple[str, Parameters]]:
    """What is tried first, where every family does equally well."""
    return [one for wave in waves(shape) for one in wave]
