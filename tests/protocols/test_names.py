"""Names, topics, resources, tokens: what may travel as a level of a topic or path, and what may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.enrolment import Trust, format_token, parse_token
from protocols.errors import MessageRefusedError, NameRefusedError
from protocols.names import ReleaseRef, check_name
from protocols.resources import RELEASE_FILES, parse_resource, parse_target_path, target_path
from protocols.topics import ALL_UP, DOWN_CHANNELS, UP_CHANNELS, DeviceTopics, parse_up

names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)


@given(names)
def test_a_good_name_is_returned_as_it_is(name):
    assert check_name("device", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "_a", "A", "a b", "a/b", "a+", "#", "é", "a.b", "a\n", "..", "a" * 64, "a\x00", "１"],
)
def test_what_topics_and_paths_cannot_carry_is_refused_by_name(name):
    with pytest.raises(NameRefusedError, match="device name") as caught:
        check_name("device", name)
    assert caught.value.value == name
    assert "\n" not in str(caught.value)


@given(names, st.integers(1, 10**9))
def test_a_release_reference_survives_its_text(model, version):
    assert ReleaseRef.parse(str(ReleaseRef(model, version))) == ReleaseRef(model, version)


@pytest.mark.parametrize("text", ["ccpp", "ccpp@", "ccpp@0", "ccpp@-1", "ccpp@1.0", "@1", "ccpp@²", "ccpp@1@2", "C@1"])
def test_what_is_no_release_reference_is_refused(text):
    with pytest.raises(NameRefusedError):
        ReleaseRef.parse(text)


def test_releases_sort_by_version_not_text():
    assert sorted([ReleaseRef("a", 10), ReleaseRef("a", 9)])[0].version == 9


@given(names, names, st.sampled_from(UP_CHANNELS))
def test_a_devices_topic_is_read_back(site, device, channel):
    topic = DeviceTopics(site, device).up(channel)
    assert parse_up(topic) == (site, device, channel)
    assert topic.startswith(f"genba/1/{site}/{device}/up/")
    assert len(topic.split("/")) == 6 == len(ALL_UP.split("/"))


@given(names, names, st.sampled_from(DOWN_CHANNELS))
def test_what_the_registry_writes_is_not_taken_for_what_a_device_writes(site, device, channel):
    topics = DeviceTopics(site, device)
    assert parse_up(topics.down(channel)) is None
    assert topics.down(channel).startswith(topics.all_down.removesuffix("#"))


@given(st.text(max_size=40))
def test_any_other_topic_is_none_of_ours(topic):
    parsed = parse_up(topic)
    assert parsed is None or "/".join(["genba/1", parsed[0], parsed[1], "up", parsed[2]]) == topic


@pytest.mark.parametrize("site", ["+", "#", "a/b", ""])
def test_a_site_cannot_widen_a_topic(site):
    with pytest.raises(NameRefusedError, match="site"):
        DeviceTopics(site, "press-1")


@given(names, st.integers(1, 10**6), st.sampled_from(RELEASE_FILES))
def test_a_target_path_is_read_back(model, version, file):
    assert parse_target_path(target_path(ReleaseRef(model, version), file)) == (ReleaseRef(model, version), file)


@pytest.mark.parametrize("path", ["a/b", "a/x/model.onnx", "a/1/b/c", "", "a/-1/f"])
def test_what_is_no_target_path_is_refused(path):
    with pytest.raises(ValueError, match="model/version/file"):
        parse_target_path(path)


@pytest.mark.parametrize(
    ("resource", "parsed"),
    [
        ("image/metadata/2.root.json", ("image", "metadata", "2.root.json")),
        ("image/targets/ccpp/3/ab.model.onnx", ("image", "targets", "ccpp/3/ab.model.onnx")),
        ("director/metadata/timestamp.json", ("director", "metadata", "timestamp.json")),
        ("director/targets/assignment.json", ("director", "targets", "assignment.json")),
    ],
)
def test_a_resource_is_read(resource, parsed):
    assert parse_resource(resource) == parsed


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "image",
        "image/metadata/",
        "image/metadata",
        "other/metadata/x",
        "image/keys/x",
        "image/targets/../../keys/image.key",
        "director/metadata/../../ca/ca.key",
        "image/targets//etc/passwd",
        "/image/metadata/root.json",
        "image/targets/a\\..\\b",
        "image/targets/a\x00b",
        "image/targets/./a",
    ],
)
def test_a_resource_cannot_leave_its_repository(resource):
    assert parse_resource(resource) is None


@given(st.binary(max_size=30), st.binary(max_size=30), st.text(max_size=30))
def test_the_fingerprint_of_trust_changes_with_each_part(image, director, ca):
    trust = Trust(image, director, ca)
    others = [Trust(image + b"x", director, ca), Trust(image, director + b"x", ca), Trust(image, director, ca + "x")]
    assert trust.fingerprint not in [other.fingerprint for other in others]


def test_bytes_moved_between_the_parts_change_the_fingerprint():
    assert Trust(b"ab", b"c", "d").fingerprint != Trust(b"a", b"bc", "d").fingerprint


@given(st.from_regex(r"[A-Za-z0-9_-]{32}", fullmatch=True), st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
def test_a_token_survives_a_copy_with_blanks_around(secret, fingerprint):
    assert parse_token(f"  {format_token(secret, fingerprint)}\n") == (secret, fingerprint)


@pytest.mark.parametrize("token", ["", "genba1-short-00", "genba2-" + "a" * 32 + "-" + "0" * 32, "a" * 200])
def test_what_is_no_token_is_refused_and_never_quoted(token):
    with pytest.raises(MessageRefusedError) as caught:
        parse_token(token)
    assert not token or token not in str(caught.value)
