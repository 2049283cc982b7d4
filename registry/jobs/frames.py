"""Tables of labelled rows that fit a release's inputs, and the table that a challenger learns from."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from protocols.manifest import Manifest

Array = np.ndarray[Any, Any]


def labelled_frame(rows: Sequence[Mapping[str, Any]], manifest: Manifest) -> pd.DataFrame:
    """Return rows as a table of the release's inputs and its target, in that order.

    Other columns are left out, absent ones are missing, text where a number belongs is missing, and rows without
    the target are dropped.
    """
    columns = [*(spec.name for spec in manifest.inputs), manifest.target]
    frame = pd.DataFrame.from_records(list(rows)).reindex(columns=columns)
    for spec in manifest.inputs:
        if spec.dtype == "string":
            frame[spec.name] = frame[spec.name].map(_text, na_action="ignore")
        else:
            frame[spec.name] = pd.to_numeric(frame[spec.name], errors="coerce").astype("float64")
    if manifest.task == "regression":
        frame[manifest.target] = pd.to_numeric(frame[manifest.target], errors="coerce").astype("float64")
    return frame.dropna(subset=[manifest.target]).reset_index(drop=True)


def columns(frame: pd.DataFrame, manifest: Manifest) -> list[tuple[str, Literal["number", "category"], Array]]:
    """Return (name, kind, values) of each input: float32 with NaN for missing, or text with "" for missing."""
    found: list[tuple[str, Literal["number", "category"], Array]] = []
    for spec in manifest.inputs:
        if spec.dtype == "string":
            texts = ["" if pd.isna(value) else str(value) for value in frame[spec.name]]
            found.append((spec.name, "category", np.array(texts, dtype=object)))
        else:
            found.append((spec.name, "number", frame[spec.name].to_numpy(dtype=np.float32)))
    return found


def joined(original: pd.DataFrame | None, newest: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """Return the original table, as far as there is one, with the newest rows below it.

    Only the release's inputs and its target are kept, so a challenger fits every stream that the champion serves.
    """
    if original is None:
        return newest
    base = original.reindex(columns=list(newest.columns))
    for spec in manifest.inputs:
        plain = pd.api.types.is_numeric_dtype(base[spec.name]) and not pd.api.types.is_bool_dtype(base[spec.name])
        if spec.dtype != "string" and not plain:
            base[spec.name] = base[spec.name].map(_number, na_action="ignore")
    below = newest.copy()
    for name in below.columns:
        if pd.api.types.is_numeric_dtype(base[name]) and not pd.api.types.is_numeric_dtype(below[name]):
            below[name] = pd.to_numeric(below[name], errors="coerce")
        elif not pd.api.types.is_numeric_dtype(base[name]) and pd.api.types.is_numeric_dtype(below[name]):
            below[name] = below[name].map(_text, na_action="ignore")
    below = below.dropna(subset=[manifest.target])
    return pd.concat([base, below], ignore_index=True)


def _number(value: Any) -> Any:
    """True and false, and texts that say so, as the numbers that training makes of them."""
    return {"true": 1.0, "false": 0.0}.get(str(value).strip().lower(), value)


def _text(value: Any) -> str:
    """A whole number is written without its point, as the CSV that training read had it."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
