"""Manifest, assignment, reference profile: round trips, contradictions, and trust between the two repositories."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulators.sample_documents import assignment, manifest, reference

from protocols.assignment import AssignedRelease, Assignment, check_assignment, decode_assignment, encode_assignment
from protocols.errors import (
    DisagreementError,
    ManifestError,
    MessageRefusedError,
    ProtocolError,
    SketchError,
    UnknownVersionError,
)
from protocols.manifest import Manifest, TensorSpec, decode_manifest, encode_manifest
from protocols.names import ReleaseRef
from protocols.reference import decode_reference, encode_reference
from protocols.trust import TargetFacts, check_agreement


def changed(struct, **fields):
    return msgspec.structs.replace(struct, **fields)


def test_a_manifest_is_read_back_and_equal_manifests_are_equal_bytes():
    data = encode_manifest(manifest())
    assert decode_manifest(data) == manifest()
    assert encode_manifest(decode_manifest(data)) == data
    assert manifest().release == ReleaseRef("ccpp", 3)
    assert manifest().digest == "ab" * 32


@given(st.data())
def test_any_manifest_is_read_back_or_names_its_contradiction(structs, data):
    made = data.draw(structs(Manifest))
    try:
        assert decode_manifest(encode_manifest(made)) == made
    except ProtocolError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=60))
@pytest.mark.parametrize(
    ("read", "error"),
    [(decode_manifest, ManifestError), (decode_assignment, MessageRefusedError), (decode_reference, SketchError)],
)
def test_bytes_that_are_no_document_are_refused(read, error, data):
    with pytest.raises(error):
        read(data)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": -1}, "version is -1"),
        ({"files": {}}, "no model.onnx"),
        ({"inputs": ()}, "inputs must be named"),
        ({"inputs": (TensorSpec("a", "float32"), TensorSpec("a", "float32"))}, "inputs must be named, each once"),
        ({"outputs": ()}, "outputs must be named"),
        ({"task": "classification", "classes": ("only",)}, "at least two classes"),
        ({"inputs": (TensorSpec("a", "float32", low=2.0, high=1.0),)}, "'a' has the range 2.0 to 1.0"),
        ({"v": 3}, "version 3, and this release of Genba reads up to 2"),
        ({"v": 2}, "version 2 without feeding, state or variants"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_by_field(change, text):
    with pytest.raises(ManifestError, match=text):
        decode_manifest(encode_manifest(changed(manifest(), **change)))


def test_a_certificate_without_cases_proves_nothing():
    certificate = manifest().parity
    assert certificate.passed
    assert not changed(certificate, cases=()).passed
    assert not changed(certificate, cases=(changed(certificate.cases[0], passed=False),)).passed


def test_an_assignment_is_read_back():
    assert decode_assignment(encode_assignment(assignment())) == assignment()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"device": "Press 1"}, "device name"),
        ({"releases": (AssignedRelease("ccpp", 3), AssignedRelease("ccpp", 4))}, "one release per model"),
        ({"releases": ()}, "model 'ccpp' is not among"),
        ({"window_s": 0.0}, "window_s must be above 0"),
        ({"confirm_s": -1.0}, "confirm_s at least 0"),
        ({"streams": assignment().streams * 2}, "each name once"),
    ],
)
def test_an_assignment_that_contradicts_itself_is_refused(change, text):
    with pytest.raises(ProtocolError, match=text):
        check_assignment(changed(assignment(), **change))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "Main"}, "stream name"),
        ({"topic": "line/+/sensors"}, "topic 'line/\\+/sensors' must be a plain topic"),
        ({"topic": ""}, "topic '' must be"),
        ({"output_topic": "genba/1/osaka/press-1/up/status"}, "output_topic .* outside genba/"),
        ({"output_topic": "line/1/sensors"}, "are the same"),
        ({"queue_limit": 0}, "queue_limit is 0; it must be from 1 to 1000000"),
        ({"queue_limit": 99_999_999_999}, "queue_limit is 99999999999; it must be from 1 to 1000000"),
        ({"max_batch": 0}, "max_batch is 0; it must be from 1"),
        ({"max_batch": 1_000_001}, "max_batch is 1000001"),
        ({"latency_budget_ms": 0.0}, "latency_budget_ms is 0; it must be above 0 and at most 86400000"),
        ({"latency_budget_ms": float("nan")}, "latency_budget_ms is nan"),
        ({"latency_budget_ms": float("inf")}, "latency_budget_ms is inf"),
        ({"latency_budget_ms": 1e12}, "latency_budget_ms is 1e"),
        ({"inputs": {"temperature": "$.t["}}, "JSON path"),
        ({"key": "$$"}, "JSON path"),
    ],
)
def test_a_stream_that_cannot_work_is_refused_by_field(change, text):
    stream = changed(assignment().streams[0], **change)
    with pytest.raises(ProtocolError, match=text):
        check_assignment(changed(assignment(), streams=(stream,)))


def test_an_assignment_of_a_newer_registry_is_refused():
    with pytest.raises(UnknownVersionError, match="update Genba"):
        decode_assignment(encode_assignment(changed(assignment(), v=2)))


@given(st.data())
def test_fields_of_a_newer_side_are_ignored_in_documents(structs, data):
    made = data.draw(structs(Assignment))
    fields = msgspec.json.decode(encode_assignment(made)) | {"rollout": {"group": 3}}
    assert msgspec.json.decode(msgspec.json.encode(fields), type=Assignment) == made
    extended = msgspec.json.decode(encode_manifest(manifest())) | {"model_card": "x"}
    assert decode_manifest(msgspec.json.encode(extended)) == manifest()


def test_a_reference_profile_is_read_back():
    assert decode_reference(encode_reference(reference())) == reference()


def test_a_reference_profile_of_a_newer_release_is_refused():
    with pytest.raises(SketchError, match="version 2"):
        decode_reference(encode_reference(changed(reference(), v=2)))


FACTS = TargetFacts("ccpp/3/model.onnx", 10, {"sha256": "aa", "blake2b-256": "bb"}, ("x86",))


def other(**fields):
    values = {name: getattr(FACTS, name) for name in ("path", "length", "hashes", "profiles")} | fields
    return TargetFacts(**values)


@pytest.mark.parametrize("image", [FACTS, other(profiles=()), other(hashes={"sha256": "aa"})])
def test_what_both_repositories_say_may_be_installed(image):
    check_agreement(image, FACTS, "x86")


@pytest.mark.parametrize(
    ("image", "field"),
    [
        (None, "target"),
        (other(path="ccpp/2/model.onnx"), "path"),
        (other(length=11), "length"),
        (other(hashes={"sha256": "ff", "blake2b-256": "bb"}), "sha256"),
        (other(hashes={"sha256": "aa", "blake2b-256": "ff"}), "blake2b-256"),
        (other(hashes={"blake2b-256": "bb"}), "sha256"),
        (other(hashes={}), "sha256"),
        (other(profiles=("jetson-orin",)), "profiles"),
    ],
)
def test_a_director_that_says_otherwise_installs_nothing(image, field):
    with pytest.raises(DisagreementError) as caught:
        check_agreement(image, FACTS, "x86")
    assert caught.value.field == field


def test_a_release_for_other_hardware_is_not_installed():
    with pytest.raises(DisagreementError, match="raspberry-pi-4"):
        check_agreement(FACTS, FACTS, "raspberry-pi-4")
