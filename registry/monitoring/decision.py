"""The decision: when drift makes a model train again. A pure rule over the history of its drift reports."""

from collections.abc import Sequence

import msgspec

from registry.monitoring.policy import Policy
from registry.monitoring.reports import DriftReport


class Retrain(msgspec.Struct, frozen=True):
    """Train a challenger now, because of `reason`."""

    reason: str


class Wait(msgspec.Struct, frozen=True):
    """Do nothing now, because of `reason`."""

    reason: str


def decide(
    policy: Policy,
    reports: Sequence[DriftReport],
    *,
    champion: int | None,
    labelled_rows: int,
    last_retraining_at: float | None,
    now: float,
    fed: bool = False,
) -> Retrain | Wait:
    """Say whether a model should train again.

    Args:
        reports: the model's drift reports, newest first; those of releases other than the champion do not count.
        champion: the version that devices should run; None while there is none.
        labelled_rows: how many have arrived since the last retraining: without news, it would end as that one did.
        last_retraining_at, now: seconds since the epoch.
        fed: the champion takes more than a row, which no training here makes.
    """
    if not policy.enabled:
        return Wait("the policy is switched off")
    if fed:
        return Wait("the champion takes windows, images or state, and what takes them is not trained here")
    if champion is None:
        return Wait("the model has no champion")
    recent = [report for report in reports if report.version == champion][: policy.windows_in_a_row]
    drifted = next((index for index, report in enumerate(recent) if not report.drifted), len(recent))
    if drifted < policy.windows_in_a_row:
        return Wait(f"{drifted} of {policy.windows_in_a_row} windows in a row have drifted")
    if last_retraining_at is not None and now < last_retraining_at + policy.cooldown_s:
        rest = last_retraining_at + policy.cooldown_s - now
        return Wait(f"drift, but the last retraining was too recent: {rest:.0f} s to wait")
    if labelled_rows < policy.min_labelled_rows:
        return Wait(f"drift, but only {labelled_rows} of {policy.min_labelled_rows} new labelled rows have arrived")
    return Retrain(f"{_names(recent[0])} drifted in {policy.windows_in_a_row} windows in a row")


def _names(report: DriftReport) -> str:
    names = [feature.feature for feature in report.features if feature.drifted]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
