"""Variants of a trained model: made, measured beside it, and offered only where a device could gain by them."""

import math
from collections.abc import Callable, Mapping, Sequence
from subprocess import SubprocessError

from protocols.manifest import Manifest, Precision
from trainer.cases import Case
from trainer.errors import ImportRefusedError
from trainer.footprint import measure_footprint
from trainer.precision.variants import VariantsAsked, add_variants

#: Seconds of a budget for each of them: made, compared and measured. With less than the least, it is not begun.
VARIANT_S, LEAST_S = 4.0, 1.0
#: Times that both graphs are measured, by turns; the best of each counts, since a busy machine only slows.
TURNS = 2
#: A variant that takes longer than this share of the model's time is slower; below, the measurement cannot tell.
NO_SLOWER = 1.05


def offer_variants(
    precisions: Sequence[Precision],
    tolerance: float | None,
    manifest: Manifest,
    files: Mapping[str, bytes],
    cases: Sequence[Case],
    left_s: Callable[[], float] = lambda: math.inf,
) -> tuple[Manifest, dict[str, bytes], tuple[str, ...]]:
    """Return manifest and files with the variants that are offered, and in words why others are not.

    Args:
        tolerance: how far outputs may lie from the model's, in the output's unit; None: by precision.
        cases: rows of the proof; each variant is compared with model.onnx on all of them.
        left_s: asked for the seconds that are left.
    """
    refused: list[str] = []
    whole = dict(files)
    for precision in precisions:
        if left_s() < LEAST_S:
            refused.append(f"{precision} is not offered: the time was over; give a larger --budget")
            continue
        asked = VariantsAsked(manifest.model, made=(precision,), tolerance=tolerance)
        try:
            with_it, more = add_variants(asked, manifest, whole, cases)
        except ImportRefusedError as error:
            refused.append(f"{precision} is not offered: {error}")
            continue
        if why := _no_gain(whole, more[with_it.variants[precision].file]):
            refused.append(f"{precision} is not offered: {why}")
            continue
        manifest, whole = with_it, more
    return manifest, whole, tuple(refused)


def _no_gain(files: Mapping[str, bytes], variant: bytes) -> str:
    """Why a variant is no gain over model.onnx, or ""."""
    model, golden = files["model.onnx"], files["golden.npz"]
    if len(variant) >= len(model):
        return f"it has {len(variant) / 1000:.0f} kB, and the model {len(model) / 1000:.0f} kB"
    try:
        figures = [
            (measure_footprint(model, golden).latency_p50_ms, measure_footprint(variant, golden).latency_p50_ms)
            for _ in range(TURNS)
        ]
    except SubprocessError as error:
        return f"it could not be measured: {error}"
    before, after = (min(each) for each in zip(*figures, strict=True))
    return f"a row takes {after:.3g} ms, and {before:.3g} ms with the model" if after > NO_SLOWER * before else ""
