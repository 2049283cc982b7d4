"""A challenger that waits for a person: released by one request, once."""

import shutil

import msgspec
import pytest

from protocols.assignment import AssignedRelease, Assignment, StreamBinding
from protocols.manifest import decode_manifest, encode_manifest
from registry.assigning import assign
from registry.monitoring.policy import Policy
from registry.promotion import waiting_folder


@pytest.fixture
def waiting(home, catalogue, published, make_candidate, clock, enrol):
    """The number of a retraining whose candidate waits; `press-1` runs the champion."""
    enrol("press-1")
    stream = StreamBinding("main", "ccpp", "line/in", "line/out")
    assign(home, catalogue, Assignment("press-1", 0, (AssignedRelease("ccpp", 1),), (stream,)), clock)
    catalogue.policies.set("ccpp", Policy(auto_release=False))
    catalogue.jobs.add("retrain", {"model": "ccpp"}, "drift")
    job = catalogue.jobs.claim("worker").id
    catalogue.jobs.finish(job, {"release": None, "reason": f"it waits: `genba publish --job {job}` releases it"})
    made = make_candidate(named=b"challenger")
    manifest = decode_manifest((made / "release.json").read_bytes())
    lineage = msgspec.structs.replace(manifest.lineage, parent="ccpp@1")
    (made / "release.json").write_bytes(encode_manifest(msgspec.structs.replace(manifest, lineage=lineage)))
    shutil.copytree(made, waiting_folder(home, job))
    return job


def test_a_person_releases_what_waits_and_it_goes_where_the_champion_ran(api, client, catalogue, waiting):
    assert f"genba publish --job {waiting}" in client.get("/models/ccpp").text
    answer = api("POST", f"/jobs/{waiting}/release")
    assert answer.status_code == 200, answer.text
    assert answer.json["result"]["release"] == "ccpp@2"
    assert str(catalogue.models.champion("ccpp")) == "ccpp@2"
    assert catalogue.assignments.get("press-1").releases == (AssignedRelease("ccpp", 2),)
    changed = next(event for event in catalogue.events.list(model="ccpp") if event.kind == "champion-changed")
    assert changed.detail["by"] == "operator"
    again = api("POST", f"/jobs/{waiting}/release")
    assert again.status_code == 409
    assert "its candidate is ccpp@2 already" in again.json["detail"]


def test_without_auto_assign_the_devices_wait_too(api, catalogue, waiting):
    catalogue.policies.set("ccpp", Policy(auto_release=False, auto_assign=False))
    assert api("POST", f"/jobs/{waiting}/release").status_code == 200
    assert catalogue.assignments.get("press-1").releases == (AssignedRelease("ccpp", 1),)


def test_nobody_else_may_release_it(anonymous, waiting):
    assert anonymous("POST", f"/jobs/{waiting}/release").status_code == 401


def test_what_was_edited_while_it_waited_is_refused(api, home, catalogue, waiting):
    (waiting_folder(home, waiting) / "model.onnx").write_bytes(b"other")
    assert api("POST", f"/jobs/{waiting}/release").status_code == 422
    assert str(catalogue.models.champion("ccpp")) == "ccpp@1"
