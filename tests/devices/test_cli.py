"""`genba devices` as a person and a machine use it."""

import json

import pytest
from simulators.sample_documents import manifest

import genba
from devices.profiles import list_profiles
from protocols.manifest import encode_manifest


@pytest.fixture
def release(tmp_path):
    (tmp_path / "release.json").write_bytes(encode_manifest(manifest()))
    return tmp_path


def test_list_shows_every_profile(capsys):
    assert genba.main(["devices", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(profile.name in shown and profile.title in shown for profile in list_profiles())


def test_list_for_a_machine(capsys):
    assert genba.main(["devices", "list", "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert [profile["name"] for profile in page] == [profile.name for profile in list_profiles()]
    assert page[0]["providers"]


def test_probe_of_this_machine_with_a_boards_profile(capsys):
    assert genba.main(["devices", "probe", "--profile", "raspberry-pi-4"]) == 0
    shown = capsys.readouterr().out
    assert "raspberry-pi-4" in shown
    assert "runs on      CPU" in shown


def test_probe_and_fit_for_a_machine(capsys, release):
    command = ["devices", "probe", "--json", "--profile", "x86", "--release", str(release), "--home", str(release)]
    assert genba.main(command) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["fit"]["fits"] is True
    assert page["fit"]["providers"] == ["CPUExecutionProvider"]
    assert page["cores"] >= 1


def test_a_release_that_does_not_fit_is_exit_status_1_with_reasons(capsys, tmp_path):
    import msgspec

    other = msgspec.structs.replace(manifest(), profiles=("jetson-orin",))
    (tmp_path / "release.json").write_bytes(encode_manifest(other))
    assert genba.main(["devices", "probe", "--profile", "x86", "--release", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "ccpp@3 does not fit" in shown
    assert "released for jetson-orin, not for x86" in shown


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["probe", "--profile", "pi"], "no device profile 'pi'; there are jetson-orin"),
        (["probe", "--profile", "x86", "--release", "nowhere"], "--release nowhere: no release.json there"),
        (["probe", "--home", "/nope"], "--home /nope: no such folder"),
        (["tune", "press@1"], "press@1: say where it is installed: --home HOME of an agent; or give its folder"),
    ],
)
def test_a_mistake_is_one_clear_line(capsys, arguments, text):
    assert genba.main(["devices", *arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("genba: ")
    assert text in shown.err
    assert shown.err.count("\n") == 1


def test_a_release_that_fits_is_told_with_what_it_would_run_on(capsys, release):
    assert genba.main(["devices", "probe", "--profile", "x86", "--release", str(release)]) == 0
    assert "ccpp@3 fits\nruns on      CPU\n" in capsys.readouterr().out


def test_wrong_usage_and_help_of_the_probe_are_its_own(capsys):
    with pytest.raises(SystemExit):
        genba.main(["devices", "probe", "--release", "x"])
    assert capsys.readouterr().err.startswith("usage: genba devices probe ")
    with pytest.raises(SystemExit):
        genba.main(["devices", "probe", "--help"])
    assert "Say what this machine has: processor" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["what"], ["probe", "--release", "x"]])
def test_wrong_usage_is_exit_status_2(arguments):
    with pytest.raises(SystemExit) as caught:
        genba.main(["devices", *arguments])
    assert caught.value.code == 2
