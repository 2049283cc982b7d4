"""Profiles: those that ship are whole and true to the hardware; a wrong one is refused by its field."""

import pytest

from devices.errors import NoProviderError, ProfileError, UnknownProfileError
from devices.profiles import list_profiles, load_profile, parse_profile
from devices.providers import CPU, choose_providers

GOOD = {
    "title": '"a board"',
    "arch": '"aarch64"',
    "cores": "4",
    "memory_mb": "2000",
    "model_memory_mb": "500",
    "disk_mb": "100",
    "threads": "2",
    "providers": '["CPUExecutionProvider"]',
}


def toml(**changes: str | None) -> bytes:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return "\n".join(f"{name} = {value}" for name, value in fields.items()).encode()


def test_the_devices_of_the_design_have_profiles():
    names = [profile.name for profile in list_profiles()]
    assert names == sorted(names)
    assert set(names) >= {"raspberry-pi-4", "raspberry-pi-5", "jetson-orin", "x86", "x86-openvino", "x86-cuda"}


@pytest.mark.parametrize("profile", list_profiles(), ids=lambda profile: profile.name)
def test_a_profile_keeps_its_promises_possible(profile):
    assert profile.threads <= profile.cores
    assert profile.model_memory_mb < profile.memory_mb
    assert profile.providers[-1] == CPU, "what no accelerator takes runs on the CPU"
    assert profile.title
    assert profile.notes
    assert profile.arch == ("x86_64" if profile.name.startswith("x86") else "aarch64")


def test_an_unknown_profile_names_the_known_ones():
    with pytest.raises(UnknownProfileError, match="no device profile 'pi'; there are jetson-orin, raspberry-pi-4,"):
        load_profile("pi")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"cores": None}, "missing required field `cores`"),
        ({"cores": "0"}, "cores counts from 1"),
        ({"threads": '"two"'}, r"\$\.threads"),
        ({"arch": '"arm"'}, r"\$\.arch"),
        ({"providers": "[]"}, "providers must be named"),
        ({"providers": f'["{CPU}", "{CPU}"]'}, "each once"),
        ({"model_memory_mb": "3000"}, "more than memory_mb"),
        ({"colour": '"blue"'}, "unknown field `colour`"),
        ({"cores": "= 4"}, "board-1"),
    ],
)
def test_a_wrong_profile_is_refused_by_its_field(change, text):
    with pytest.raises(ProfileError, match=text) as caught:
        parse_profile("board-1", toml(**change))
    assert "\n" not in str(caught.value)


def test_a_profile_has_a_name_that_topics_can_carry():
    assert parse_profile("board-1", toml()).name == "board-1"
    with pytest.raises(ProfileError, match="Board 1"):
        parse_profile("Board 1", toml())


CUDA, TENSORRT = "CUDAExecutionProvider", "TensorrtExecutionProvider"


@pytest.mark.parametrize(
    ("profile", "installed", "proven", "chosen", "wanted"),
    [
        ("x86", [CPU], None, (CPU,), CPU),
        ("x86", ["AzureExecutionProvider", CPU], [CPU], (CPU,), CPU),
        ("jetson-orin", [CPU, CUDA, TENSORRT], None, (TENSORRT, CUDA, CPU), TENSORRT),
        ("jetson-orin", [CPU, CUDA, TENSORRT], [CPU, CUDA], (CUDA, CPU), CUDA),
        ("jetson-orin", [CPU], [CPU, CUDA], (CPU,), CUDA),
        ("jetson-orin", [CPU, CUDA, TENSORRT], [CPU], (CPU,), CPU),
    ],
)
def test_providers_are_the_profiles_that_are_proven_and_installed(profile, installed, proven, chosen, wanted):
    choice = choose_providers(load_profile(profile), installed, proven)
    assert (choice.providers, choice.wanted) == (chosen, wanted)
    assert choice.fallback == (chosen[0] != wanted)


@pytest.mark.parametrize(("installed", "text"), [([], "not there: pip install"), ([CUDA], "has CUDAExecutionProvider")])
def test_no_provider_left_is_an_error_that_says_what_is_installed(installed, text):
    with pytest.raises(NoProviderError, match=text):
        choose_providers(load_profile("x86"), installed)
