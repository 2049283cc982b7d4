"""The policy of a model: what counts as drift, and what happens then."""

from typing import Annotated

import msgspec

from protocols.errors import MessageRefusedError

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0.0)]


class Policy(msgspec.Struct, frozen=True):
    """What counts as drift of one model, and what happens then.

    Attributes:
        min_rows: live rows that a window must have to be judged; windows are joined until they have them.
        psi_threshold, ks_threshold: the least size of a shift that matters, however sure it is.
        missing_threshold: how far a missing rate may rise, as a share of rows.
        alpha: how often a healthy window may be called drifted by chance, over all of its features together.
        drifted_features: features that must have drifted for a window to count as drifted.
        windows_in_a_row: drifted windows in a row that start a retraining.
        cooldown_s: seconds from one retraining to the next.
        min_labelled_rows: labelled rows that must have arrived since the last retraining.
        budget_s: search budget of the retraining, in seconds.
        holdout_share: share of the newest labelled rows that champion and challenger are compared on.
        margin: how much better the challenger's metric must be, as a share of the champion's.
        auto_release, auto_assign: whether a better challenger is released, and given to the model's devices, unasked.
    """

    enabled: bool = True
    min_rows: Count = 100
    psi_threshold: Annotated[float, msgspec.Meta(gt=0.0)] = 0.2
    ks_threshold: Share = 0.2
    missing_threshold: Share = 0.1
    alpha: Annotated[float, msgspec.Meta(gt=0.0, lt=0.5)] = 0.001
    drifted_features: Count = 1
    windows_in_a_row: Count = 3
    cooldown_s: Seconds = 3600.0
    min_labelled_rows: Count = 200
    budget_s: Annotated[float, msgspec.Meta(gt=0.0)] = 60.0
    holdout_share: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] = 0.3
    margin: Share = 0.01
    auto_release: bool = True
    auto_assign: bool = True


_decoder = msgspec.json.Decoder(Policy)


def decode_policy(data: bytes) -> Policy:
    """Read a policy from JSON; what is absent has its default.

    Raises:
        MessageRefusedError: a field is out of its bounds; the text names it.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageRefusedError("policy", str(error)) from error
