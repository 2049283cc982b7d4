"""The policy's decision over a history of reports."""

import pytest

from protocols.drift import FeatureDrift
from protocols.errors import MessageRefusedError
from registry.monitoring.decision import Retrain, Wait, decide
from registry.monitoring.policy import Policy, decode_policy
from registry.monitoring.reports import DriftReport


def report(drifted, version=1):
    feature = FeatureDrift("AT", "numeric", 1.0, 0.5, 1.0, 0.0, 0.0, 0.0, drifted)
    return DriftReport("ccpp", version, 0.0, 60.0, ("press-7",), 200, (feature,), (), float(drifted), drifted)


def decision(reports, **changes):
    known = {"champion": 1, "labelled_rows": 500, "last_retraining_at": None, "now": 10_000.0} | changes
    return decide(known.pop("policy", Policy()), reports, **known)


def test_drift_in_a_row_retrains_and_names_the_feature():
    assert decision([report(True)] * 3) == Retrain("AT drifted in 3 windows in a row")


@pytest.mark.parametrize(
    ("reports", "changes", "reason"),
    [
        ([report(True)] * 2, {}, "2 of 3"),
        ([report(True), report(True), report(False), report(True)], {}, "2 of 3"),
        ([report(True, version=1)] * 3, {"champion": 2}, "0 of 3"),
        ([], {}, "0 of 3"),
        ([report(True)] * 3, {"policy": Policy(enabled=False)}, "switched off"),
        ([report(True)] * 3, {"champion": None}, "no champion"),
        ([report(True)] * 3, {"fed": True}, "windows, images or state"),
        ([report(True)] * 3, {"labelled_rows": 199}, "199 of 200"),
        ([report(True)] * 3, {"last_retraining_at": 9_000.0}, "2600 s to wait"),
    ],
)
def test_it_waits_and_says_why(reports, changes, reason):
    found = decision(reports, **changes)
    assert isinstance(found, Wait)
    assert reason in found.reason


def test_the_cooldown_ends():
    assert isinstance(decision([report(True)] * 3, last_retraining_at=6_400.0), Retrain)


def test_a_policy_out_of_bounds_is_refused_with_the_field():
    assert decode_policy(b'{"min_rows": 50}').min_rows == 50
    with pytest.raises(MessageRefusedError, match="holdout_share"):
        decode_policy(b'{"holdout_share": 1.5}')
