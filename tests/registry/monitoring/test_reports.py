"""Reports: healthy streams stay quiet, shifted ones do not, on the power plant's real readings."""

import msgspec
import numpy as np
import pytest

from protocols.names import ReleaseRef
from registry.monitoring.merging import DeviceWindow, merge
from registry.monitoring.policy import Policy
from registry.monitoring.reports import DriftReport, judge

RELEASE = ReleaseRef("ccpp", 1)


def split(ccpp, share=0.8):
    cut = int(len(ccpp["AT"]) * share)
    return {name: values[:cut] for name, values in ccpp.items()}, {name: v[cut:] for name, v in ccpp.items()}


def sample(columns, rows, random):
    chosen = random.choice(len(columns["AT"]), rows, replace=False)
    return {name: values[chosen] for name, values in columns.items()}


def report_on(profile, telemetry, policy=None):
    return judge(RELEASE, profile, merge([DeviceWindow("press-7", telemetry)]), policy or Policy())


@pytest.mark.parametrize("rows", [100, 200, 500])
def test_healthy_windows_raise_no_more_false_alarms_than_the_policy_allows(ccpp, profile_of, window_of, rows):
    trained, unseen = split(ccpp)
    profile, random = profile_of(trained), np.random.default_rng(7)
    alarms = sum(report_on(profile, window_of(sample(unseen, rows, random))).drifted for _ in range(150))
    # One window in a thousand (the policy's alpha) may be called drifted: over 150 windows, more than 4 alarms
    # would come by chance less than once in a million runs. The sketches' own randomness has no seed.
    assert alarms <= 4


@pytest.mark.parametrize("rows", [100, 200, 500])
def test_summer_is_seen_in_every_window(ccpp, profile_of, window_of, rows):
    order = np.argsort(ccpp["AT"])
    columns = {name: values[order] for name, values in ccpp.items()}
    cool, warm = split(columns, 0.6)
    profile, random = profile_of(cool), np.random.default_rng(7)
    for _ in range(20):
        report = report_on(profile, window_of(sample(warm, rows, random)))
        assert report.drifted
        temperature = next(feature for feature in report.features if feature.feature == "AT")
        assert temperature.drifted
        assert "PSI" in temperature.reason


def test_one_sensor_off_by_a_deviation_is_named(ccpp, profile_of, window_of):
    trained, unseen = split(ccpp)
    random = np.random.default_rng(7)
    for _ in range(20):
        columns = sample(unseen, 200, random)
        columns["RH"] = columns["RH"] + ccpp["RH"].std()
        report = report_on(profile_of(trained), window_of(columns))
        assert [feature.feature for feature in report.features if feature.drifted] == ["RH"]
        assert report.drifted_share == 0.25
        assert report.drifted


def test_a_sensor_that_falls_silent_is_drift(ccpp, profile_of, window_of):
    trained, unseen = split(ccpp)
    columns = sample(unseen, 100, np.random.default_rng(7))
    columns["V"] = np.full(100, np.nan, dtype=np.float32)
    report = report_on(profile_of(trained), window_of(columns))
    silent = next(feature for feature in report.features if feature.feature == "V")
    assert (silent.psi, silent.ks, silent.missing_rate, silent.drifted) == (None, None, 1.0, True)
    assert report.drifted


def test_more_features_can_be_asked_for(ccpp, profile_of, window_of):
    trained, unseen = split(ccpp)
    columns = sample(unseen, 200, np.random.default_rng(7))
    columns["RH"] = columns["RH"] + 40
    assert not report_on(profile_of(trained), window_of(columns), Policy(drifted_features=2)).drifted


def test_categories_are_judged(profile_of, window_of):
    random = np.random.default_rng(7)
    profile = profile_of({"Type": random.choice(["L", "M", "H"], 8000, p=[0.6, 0.3, 0.1])})
    healthy = window_of({"Type": random.choice(["L", "M", "H"], 200, p=[0.6, 0.3, 0.1])})
    shifted = window_of({"Type": random.choice(["L", "M", "new"], 200, p=[0.2, 0.3, 0.5])})
    assert not report_on(profile, healthy).drifted
    report = report_on(profile, shifted)
    assert report.drifted
    assert report.features[0].kind == "category"


def test_a_report_survives_json(ccpp, profile_of, window_of):
    trained, unseen = split(ccpp)
    report = report_on(profile_of(trained), window_of(sample(unseen, 100, np.random.default_rng(7))))
    assert msgspec.json.decode(msgspec.json.encode(report), type=DriftReport) == report
    assert b"null" not in msgspec.json.encode(report)
