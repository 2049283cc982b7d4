"""The reference profile: sketches of the data that a release was chosen on, which travel with it as `reference`."""

import msgspec

from protocols.errors import SketchError
from protocols.summaries import CategorySummary, NumericSummary

REFERENCE_VERSION = 1


class ReferenceProfile(msgspec.Struct, frozen=True):
    """What the inputs and the model's own outputs looked like on the data that the release was chosen on.

    For a first release that is its training data; for one that replaced a champion, the newest rows, on which it won.

    `numeric` and `categories` hold one sketch per model input; `outputs` sketches what monitoring follows of the
    predictions: `prediction` for a regression, `probability_<class>` for each class of a classifier.
    """

    rows: int
    numeric: dict[str, NumericSummary]
    categories: dict[str, CategorySummary]
    outputs: dict[str, NumericSummary]
    v: int = REFERENCE_VERSION


_decoder = msgspec.msgpack.Decoder(ReferenceProfile)


def encode_reference(profile: ReferenceProfile) -> bytes:
    return msgspec.msgpack.encode(profile)


def decode_reference(data: bytes) -> ReferenceProfile:
    """Read a release's `reference` file.

    Raises:
        SketchError: it is not one, or of another version.
    """
    try:
        profile = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SketchError(f"reference: {error}") from error
    if profile.v != REFERENCE_VERSION:
        raise SketchError(f"reference: version {profile.v}, and this release of Genba reads {REFERENCE_VERSION}")
    return profile
